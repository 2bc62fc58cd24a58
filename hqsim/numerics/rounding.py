"""One rounding for everything: half up, towards plus infinity.

It equals TOSA ``SINGLE_ROUND``, TFLite's single rounding and TVM ``UPWARD``; it is not ``numpy.round``
(half to even) and not gemmlowp's double rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def shift_round_half_up(x: ArrayLike, shift: ArrayLike) -> NDArray[np.int64]:
    """Return ``floor(x / 2**shift + 1/2)`` of integers, exactly.

    Parameters
    ----------
    x
        Integers, any shape, taken as int64; ``x * 2`` must fit.
    shift
        Integers that broadcast with ``x``, at most 62; zero or negative means a left shift.
    """
    value = np.asarray(x, np.int64)
    s = np.asarray(shift, np.int64)
    right = np.maximum(s, 1)
    rounded = ((value >> (right - 1)) + 1) >> 1
    return np.where(s > 0, rounded, value << np.maximum(-s, 0))


def round_half_up(x: ArrayLike) -> NDArray[np.int64]:
    """Return ``floor(x + 1/2)`` of finite reals as int64 (offline preparation of parameters)."""
    value = np.asarray(x, np.float64)
    floor = np.floor(value)
    return (floor + (value - floor >= 0.5)).astype(np.int64)
