"""Hadamard algebra: the un-normalised Sylvester matrix, blocks, signs and operand ranges.

``Ĥ`` has entries +-1 and size ``n = 2**order``; the orthogonal matrix is ``Ĥ / sqrt(n)``. ``sqrt(n)`` is
never stored: scales live in the un-normalised domain and ``1/n`` is a shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Axis = Literal["width", "channel"]
Partial = Literal["largest_pow2", "identity"]


@dataclass(frozen=True)
class Transform:
    """A block-diagonal transform as one layer applies it: along ``axis``, blocks of ``2**order``."""

    axis: Axis
    order: int
    signs: bool

    @property
    def size(self) -> int:
        """Block size ``n``."""
        return 1 << self.order


def sylvester(order: int) -> NDArray[np.int64]:
    """Return the un-normalised +-1 Sylvester-Hadamard matrix ``[2**order, 2**order]``."""
    matrix = np.ones((1, 1), np.int64)
    for _ in range(order):
        upper, lower = np.concatenate([matrix, matrix], 1), np.concatenate([matrix, -matrix], 1)
        matrix = np.concatenate([upper, lower])
    return matrix


def block_order(length: int, order: int, partial: Partial) -> int:
    """Return the order used on an axis of ``length``: ``order`` where ``2**order`` divides it.

    Else 0 (no transform) under ``identity``, or the largest power of two that divides under
    ``largest_pow2``.
    """
    dividing = (length & -length).bit_length() - 1
    if dividing >= order:
        return order
    return dividing if partial == "largest_pow2" else 0


def block_signs(order: int) -> NDArray[np.int64]:
    """Return the fixed signs of one block: the Rudin-Shapiro sequence, ``[2**order]`` of +-1.

    Its Walsh spectrum is as flat as a spectrum of signs can be (every coefficient is ``sqrt(n)`` for
    even orders, 0 or ``sqrt(2 n)`` for odd ones), so a one-sided row spreads over the block where it
    would pile up in coefficient 0. The first sign is +1: only element 0 of a block can reach
    ``-n * 2**(b-1)`` after the inverse, so the signs do not widen the operand.
    """
    pairs = np.arange(1 << order)
    pairs &= pairs >> 1
    ones = np.bitwise_count(pairs).astype(np.int64)
    return 1 - 2 * (ones & 1)


def operand_range(low: int, high: int, order: int) -> tuple[int, int]:
    """Return the range of ``q Ĥᵀ`` for codes in [low, high]: W4A4, order 5 gives [-256, 240].

    Row 0 sums ``n`` codes; every other row is a difference of two sums of ``n/2`` codes.
    """
    n = 1 << order
    if order == 0:
        return low, high
    half = n // 2
    return min(n * low, half * (low - high)), max(n * high, half * (high - low))
