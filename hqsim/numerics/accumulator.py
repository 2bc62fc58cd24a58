"""Accumulator bounds: what a sum of products can reach, proved from the weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class AccumulatorBound:
    """The proved bound of a layer's sums and the signed width that holds them."""

    magnitude: int
    bits: int

    @property
    def fits_int32(self) -> bool:
        """Whether 32-bit accumulation can never wrap."""
        return self.bits <= 32


def signed_bits(low: int, high: int) -> int:
    """Return the two's-complement width that holds every integer of [low, high]."""
    return max(high.bit_length(), (-low - 1).bit_length() if low < 0 else 0) + 1


def accumulator_bound(low: int, high: int, weight_rows: NDArray[np.integer]) -> AccumulatorBound:
    """Return ``max|a| * max_c ||w_c||_1`` for operands in [low, high].

    Parameters
    ----------
    low, high
        Range of the operand that the multiplier sees.
    weight_rows
        Integer weights ``[outputs, reduction]``.
    """
    reach = max(abs(low), abs(high))
    wider = np.int16 if weight_rows.dtype == np.int8 else np.int64
    norm = int(np.abs(weight_rows.astype(wider)).sum(axis=1, dtype=np.int64).max(initial=0))
    magnitude = reach * norm
    return AccumulatorBound(magnitude, signed_bits(-magnitude, magnitude))
