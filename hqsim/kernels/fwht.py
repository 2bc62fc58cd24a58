"""±1 butterflies: the forward transform fused with the operand quantizer, and the integer inverse.

Arrays are viewed as ``[outer, length, inner]``; the transform runs along ``length`` in blocks of
``2**order``. Butterflies are exact and grow codes by ``order`` bits.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.scalar import clamp, round_shift


@helper
def _butterflies(block, n):
    """Transform ``block [n, inner]`` in place by the un-normalised Sylvester-Hadamard matrix."""
    inner = block.shape[1]
    half = 1
    while half < n:
        for start in range(0, n, 2 * half):
            for i in range(start, start + half):
                for j in range(inner):
                    upper, lower = block[i, j], block[i + half, j]
                    block[i, j] = upper + lower
                    block[i + half, j] = upper - lower
        half *= 2


@kernel
def quantize_blocks(x, signs, multiplier, shift, low, high, codes):
    """Transform carrier codes and quantize: ``clamp(round_shift(FWHT(signs * x) * multiplier, shift))``.

    ``x`` and ``codes`` are ``[outer, length, inner]``; ``signs`` int64 ``[2**order]``; returns the
    number of saturated codes.
    """
    outer, length, inner = x.shape
    n = signs.shape[0]
    blocks = length // n
    saturated = 0
    for unit in prange(outer * blocks):
        row, first = unit // blocks, unit % blocks * n
        block = np.empty((n, inner), np.int64)
        for i in range(n):
            for j in range(inner):
                block[i, j] = x[row, first + i, j] * signs[i]
        _butterflies(block, n)
        clipped = 0
        for i in range(n):
            for j in range(inner):
                value = round_shift(block[i, j] * multiplier, shift)
                code = clamp(value, low, high)
                clipped += value != code
                codes[row, first + i, j] = code
        saturated += clipped
    return saturated


@kernel
def inverse_blocks(codes, signs, operand):
    """Write the integer inverse ``signs * (codes Ĥ)`` (un-normalised) into int16 ``operand``."""
    outer, length, inner = codes.shape
    n = signs.shape[0]
    blocks = length // n
    for unit in prange(outer * blocks):
        row, first = unit // blocks, unit % blocks * n
        block = np.empty((n, inner), np.int32)
        for i in range(n):
            for j in range(inner):
                block[i, j] = codes[row, first + i, j]
        _butterflies(block, n)
        for i in range(n):
            for j in range(inner):
                operand[row, first + i, j] = block[i, j] * signs[i]
