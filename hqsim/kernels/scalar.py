"""Scalar helpers that the kernels share: the rounding shift, clamping, integer square root."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper

ONE = np.int64(1)


@helper
def round_shift(x, shift):
    """Return ``floor(x / 2**shift + 1/2)`` of int64 ``x``; ``shift`` in [-62, 62]."""
    if shift > 0:
        return (x + (ONE << (shift - 1))) >> shift
    return x << -shift


@helper
def clamp(x, low, high):
    """Return ``x`` limited to [low, high]."""
    return min(max(x, low), high)


@helper
def bit_length(x):
    """Return the number of bits of a non-negative int64."""
    bits = 0
    while x > 0:
        x >>= 1
        bits += 1
    return bits


@helper
def integer_sqrt(x):
    """Return the exact floor of the square root of ``0 <= x < 2**62``, digit by digit."""
    remainder = np.int64(x)
    root = np.int64(0)
    bit = ONE << np.int64(60)
    while bit > 0:
        trial = root + bit
        root >>= 1
        if remainder >= trial:
            remainder -= trial
            root += bit
        bit >>= 2
    return root
