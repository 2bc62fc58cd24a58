"""The forward transform fused with the operand quantizer, a step of its own for every channel."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.scalar import clamp, round_shift
from hqsim.kernels.threads import part_of, share

LARGEST_SHIFT = 62


@helper
def _quantize_channels(worker, threads, x, signs, factor, exponents, low, high, codes):
    size, saturated = signs.shape[0], np.int64(0)
    block = np.empty(size, np.int64)
    begin, end = part_of(worker, threads, x.shape[0])
    for row in range(begin, end):
        for first in range(0, x.shape[1], size):
            for i in range(size):
                block[i] = np.int64(x[row, first + i]) * signs[i]
            half = 1
            while half < size:
                for start in range(0, size, 2 * half):
                    for i in range(start, start + half):
                        upper, lower = block[i], block[i + half]
                        block[i], block[i + half] = upper + lower, upper - lower
                half *= 2
            for i in range(size):
                exponent = exponents[first + i]
                value = round_shift(block[i] * factor[0], min(factor[1] + exponent, LARGEST_SHIFT))
                code = clamp(value, low, high)
                saturated += value != code
                codes[row, first + i] = code << exponent
    return saturated


@kernel
def quantize_channels(x, signs, factor, exponents, low, high, threads, codes):
    """Transform carrier codes and quantize; return the number of saturated codes.

    ``clamp(floor(FWHT(signs * x) * multiplier / 2**(shift + e) + 1/2), low, high) * 2**e``. ``x`` and
    ``codes`` are ``[rows, channels]``, blocks of ``len(signs)`` along the channels; ``exponents`` int64
    ``[channels]`` holds every ``e``, at least 0; ``factor`` int64 ``multiplier`` in [1, 2**15), ``shift`` in
    [0, 62]. Codes of up to 26 bits, results of up to 16.
    """
    return share(_quantize_channels, threads, (x, signs, factor, exponents, low, high, codes))
