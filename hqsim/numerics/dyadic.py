"""Dyadic scales: real factors as ``M * 2**-s`` with a 15-bit ``M``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hqsim.errors import NumericsError
from hqsim.numerics.rounding import round_half_up

MULTIPLIER_BITS = 15
MAX_SHIFT = 62


@dataclass(frozen=True)
class Dyadic:
    """Factors ``multiplier * 2**-shift``: ``multiplier`` int64 in [2**14, 2**15), ``shift`` in [0, 62]."""

    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]

    @property
    def value(self) -> NDArray[np.float64]:
        """The factors as float64, exact."""
        return dyadic_value(self.multiplier, self.shift)


def dyadic(ratio: ArrayLike, *, what: str = "scale") -> Dyadic:
    """Return the nearest dyadic numbers to positive reals.

    Raises
    ------
    NumericsError
        When a ratio is not finite and positive, or needs a shift outside [0, 62].
    """
    r = np.asarray(ratio, np.float64)
    unusable = ~np.isfinite(r) | (r <= 0)
    if np.any(unusable):
        raise NumericsError(f"{what}: a dyadic factor must be finite and positive, got {r[unusable].flat[0]}")
    mantissa, exponent = np.frexp(r)
    multiplier = round_half_up(mantissa * 2.0**MULTIPLIER_BITS)
    shift = MULTIPLIER_BITS - exponent.astype(np.int64)
    carry = multiplier == 1 << MULTIPLIER_BITS
    multiplier = np.where(carry, multiplier >> 1, multiplier)
    shift = np.where(carry, shift - 1, shift)
    outside = (shift < 0) | (shift > MAX_SHIFT)
    if np.any(outside):
        raise NumericsError(
            f"{what}: factor {r[outside].flat[0]} needs a shift of {shift[outside].flat[0]}, "
            f"allowed 0..{MAX_SHIFT}; the scales of the layer's input and output are too far apart"
        )
    return Dyadic(multiplier, shift)


def dyadic_value(multiplier: ArrayLike, shift: ArrayLike) -> NDArray[np.float64]:
    """Return ``multiplier * 2**-shift`` as float64."""
    return np.ldexp(np.asarray(multiplier, np.float64), -np.asarray(shift, np.int64))


def snap(scale: ArrayLike) -> NDArray[np.float64]:
    """Return the nearest numbers of the form ``M * 2**-s`` with a 15-bit ``M`` (any exponent)."""
    mantissa, exponent = np.frexp(np.asarray(scale, np.float64))
    multiplier = round_half_up(mantissa * 2.0**MULTIPLIER_BITS)
    return dyadic_value(multiplier, MULTIPLIER_BITS - exponent)
