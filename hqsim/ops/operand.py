"""The operand of a product as integers with a proved range, and the ways to take it apart.

parity       a = 2 h + p              h = a >> 1, p = a & 1
wide         a = 2^15 h + l           both halves fit int16
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

HALF_BITS = 15


class Operand(NamedTuple):
    """Integers in [low, high]: int16, or int32 where the range needs it."""

    codes: np.ndarray
    low: int
    high: int

    @classmethod
    def of(cls, codes: np.ndarray, low: int, high: int) -> Operand:
        """Hold ``codes`` in the narrower type that their range allows."""
        return cls(codes.astype(operand_dtype(low, high), copy=False), low, high)

    def halves(self) -> list[tuple[Operand, int]]:
        """Return int16 parts and their shifts; an int16 operand is its own only part."""
        if self.codes.dtype == np.int16:
            return [(self, 0)]
        mask = (1 << HALF_BITS) - 1
        upper = Operand.of(self.codes >> HALF_BITS, self.low >> HALF_BITS, self.high >> HALF_BITS)
        return [(upper, HALF_BITS), (Operand.of(self.codes & mask, 0, mask), 0)]

    def parity(self) -> tuple[Operand, Operand]:
        """Return the operand's half and its parity bits."""
        half = Operand.of(self.codes >> 1, self.low >> 1, self.high >> 1)
        return half, Operand.of(self.codes & 1, 0, 1)


def operand_dtype(low: int, high: int) -> type[np.signedinteger]:
    """Return int16 where [low, high] fits, else int32."""
    return np.int16 if low >= -(1 << 15) and high < 1 << 15 else np.int32
