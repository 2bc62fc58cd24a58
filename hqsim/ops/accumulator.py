"""Accumulators of P bits: what a layer's sums become when its hardware has fewer bits than they need.

    wrap       two's complement of the exact sum: ((acc + 2^(P-1)) mod 2^P) - 2^(P-1)
    saturate   clamp to [-2^(P-1), 2^(P-1)-1] after every addition

Terms ``a * w`` are added from zero in the order of the flattened weight row: input channel, kernel row,
kernel column (attention products: along the common axis). Events are counted: sums that wrapped, additions
that clamped. Every segment has an accumulator of its own, and so have both terms of a parity product.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hqsim.graph import Node

Sums = tuple[np.ndarray, int]
"""Sums int64 and the number of events."""


class Accumulator(NamedTuple):
    """An accumulator of ``bits`` bits that wraps or saturates."""

    bits: int
    saturates: bool


def accumulator_of(node: Node) -> Accumulator | None:
    """Return the accumulator that a layer is to be simulated with, None for exact sums."""
    if node.attributes.get("accumulator_bits") is None:
        return None
    return Accumulator(
        node.integer("accumulator_bits"), node.attributes["accumulator_overflow"] == "saturate"
    )


def wrap_integer(sums: np.ndarray, bits: int) -> Sums:
    """Kernel ``wrap``."""
    from hqsim.kernels.accumulate import wrap

    wrapped = np.array(sums, np.int64, order="C")
    events = wrap(np.int64(bits), wrapped.reshape(-1))
    return wrapped, int(events)


def wrap_exact(sums: np.ndarray, bits: int) -> Sums:
    """Plain modular arithmetic."""
    half = 2 ** (bits - 1)
    wrapped = np.mod(sums + half, 2 * half) - half
    return wrapped, int(np.count_nonzero(wrapped != sums))


def saturate_integer(a: np.ndarray, b: np.ndarray, bits: int) -> Sums:
    """Kernel ``matmul_saturate`` on ``a [count, m, k]`` and ``b [count, k, n]``."""
    from hqsim.kernels.accumulate import matmul_saturate

    a, b = (np.ascontiguousarray(side, np.int32) for side in (a, b))
    sums = np.empty((*a.shape[:2], b.shape[2]), np.int64)
    return sums, int(matmul_saturate(a, b, np.int64(bits), sums))


def saturate_exact(a: np.ndarray, b: np.ndarray, bits: int) -> Sums:
    """One term after the other, all sums at once."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    sums = np.zeros((*a.shape[:2], b.shape[2]), np.int64)
    events = 0
    for k in range(a.shape[2]):
        total = sums + a[:, :, k, None].astype(np.int64) * b[:, k, None, :]
        sums = np.clip(total, low, high)
        events += int(np.count_nonzero(sums != total))
    return sums, events
