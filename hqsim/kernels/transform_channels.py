"""Codes of channels whose steps are powers of two apart, of codes quantized with each of the steps."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.scalar import clamp
from hqsim.kernels.threads import part_of, share


@helper
def _pick_codes(worker, threads, trials, exponents, low, high, codes):
    saturated = np.int64(0)
    begin, end = part_of(worker, threads, codes.shape[0])
    for row in range(begin, end):
        for channel in range(codes.shape[1]):
            exponent = exponents[channel]
            value = np.int64(trials[exponent, row, channel])
            code = clamp(value, low, high)
            saturated += value != code
            codes[row, channel] = code << exponent
    return saturated


@kernel
def pick_codes(trials, exponents, low, high, threads, codes):
    """Write ``clamp(trials[e], low, high) * 2**e`` of every channel's ``e``; return how many saturated.

    ``trials`` is ``[steps, rows, channels]``, limited to [``low`` - 1, ``high`` + 1], so that codes beyond
    the limits can be told; ``exponents`` int64 ``[channels]``; ``codes`` ``[rows, channels]``.
    """
    return share(_pick_codes, threads, (trials, exponents, low, high, codes))
