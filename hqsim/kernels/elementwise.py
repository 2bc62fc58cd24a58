"""Rescales: one multiply, one shift, one rounding; alone, per channel with a bias, or of a sum of two."""

from __future__ import annotations

from numba import prange

from hqsim.kernels.jit import kernel
from hqsim.kernels.scalar import clamp, round_shift


@kernel
def requantize(sums, multiplier, shift, bias, bias_bits, low, high, codes):
    """Rescale ``sums [outer, channels, inner]`` to ``codes`` and return the number of saturated codes.

    ``clamp(round_shift(sum * multiplier[c] + bias[c] * 2**(shift[c] - bias_bits), shift[c]))``: the bias
    counts ``2**-bias_bits`` of an output code and is added before the one rounding.
    """
    outer, channels, inner = sums.shape
    saturated = 0
    for unit in prange(outer * channels):
        row, channel = unit // channels, unit % channels
        factor, places = multiplier[channel], shift[channel]
        offset = bias[channel] << (places - bias_bits)
        clipped = 0
        for i in range(inner):
            value = round_shift(sums[row, channel, i] * factor + offset, places)
            code = clamp(value, low, high)
            clipped += value != code
            codes[row, channel, i] = code
        saturated += clipped
    return saturated


@kernel
def add_rescaled(a, b, multiplier_a, multiplier_b, shift, low, high, codes):
    """Write ``clamp(round_shift(a * multiplier_a + b * multiplier_b, shift))``; return what saturated.

    ``a`` and ``codes`` are ``[outer, inner]``, ``b`` is ``[outer, inner]`` or ``[outer, 1]`` (broadcast).
    """
    outer, inner = a.shape
    step = 1 if b.shape[1] == inner else 0
    saturated = 0
    for row in prange(outer):
        clipped = 0
        for i in range(inner):
            value = round_shift(a[row, i] * multiplier_a + b[row, i * step] * multiplier_b, shift)
            code = clamp(value, low, high)
            clipped += value != code
            codes[row, i] = code
        saturated += clipped
    return saturated
