"""GroupNorm of channels-last codes: sums of channels, exact square roots, one rounding at the end."""

from __future__ import annotations

import numpy as np
from numba import prange

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.scalar import bit_length, clamp, integer_sqrt

PIXELS = 64
"""Pixels that a thread works on at a time."""


@helper
def _add_moments(row, sums, squares):
    for c in range(row.shape[0]):
        q = np.int64(row[c])
        sums[c] += q
        squares[c] += q * q


@helper
def _normalize_row(row, fraction, mean, inverse, half, shift, gain, addend, total_bits, low, high, codes):
    clipped = np.int64(0)
    for c in range(row.shape[0]):
        d = (np.int64(row[c]) << fraction) - mean[c]
        t = (d * inverse[c] + half[c]) >> shift[c]
        value = (t * gain[c] + addend[c]) >> total_bits
        code = clamp(value, low, high)
        clipped += value != code
        codes[c] = code
    return clipped


@kernel
def group_normalize(x, groups, fraction, epsilon, gain, gain_bits, offset, low, high, codes):
    """Normalize ``x [samples, pixels, channels]`` in ``groups`` groups of channels; return what saturated.

    With ``f = fraction``: ``mean`` in ``f`` fractional bits, ``d = (x << f) - mean``, ``V = max(1, sum d**2 +
    epsilon)`` (from the sums of ``x`` and ``x**2``, exactly), ``1/sqrt(V)`` by an exact integer square root
    and a division, ``t = d / sqrt(V)`` in 30 fractional bits, then ``t * gain + offset`` and one rounding.
    ``gain`` and ``offset`` are int64 ``[channels]``; the offset has 16 fractional bits.
    """
    samples, pixels, channels = x.shape
    chunks = (pixels + PIXELS - 1) // PIXELS
    moments = np.zeros((samples * chunks, 2, channels), np.int64)
    for unit in prange(samples * chunks):
        sample, first = unit // chunks, unit % chunks * PIXELS
        for pixel in range(first, min(first + PIXELS, pixels)):
            _add_moments(x[sample, pixel], moments[unit, 0], moments[unit, 1])
    size = channels // groups
    n = pixels * size
    total_bits = 30 + gain_bits
    # Per sample and channel: mean, inverse, half, shift.
    scaling = np.empty((samples, 4, channels), np.int64)
    for sample in range(samples):
        for group in range(groups):
            total, square = np.int64(0), np.int64(0)
            for chunk in range(sample * chunks, (sample + 1) * chunks):
                for c in range(group * size, (group + 1) * size):
                    total += moments[chunk, 0, c]
                    square += moments[chunk, 1, c]
            mean = ((total << fraction) * 2 + n) // (2 * n)
            spread = (square << (2 * fraction)) - 2 * mean * (total << fraction) + n * mean * mean + epsilon
            spread = max(spread, np.int64(1))
            h = 62 - bit_length(spread)
            h -= h & 1
            inverse = (np.int64(1) << 54) // integer_sqrt(spread << h)
            places = 24 - h // 2
            half = np.int64(0)
            if places > 0:
                half = np.int64(1) << (places - 1)
            else:
                inverse <<= -places
                places = 0
            for c in range(group * size, (group + 1) * size):
                scaling[sample, 0, c], scaling[sample, 1, c] = mean, inverse
                scaling[sample, 2, c], scaling[sample, 3, c] = half, places
    addend = np.empty(channels, np.int64)
    for c in range(channels):
        addend[c] = (offset[c] << (total_bits - 16)) + (np.int64(1) << (total_bits - 1))
    saturated = np.int64(0)
    for unit in prange(samples * chunks):
        sample, first = unit // chunks, unit % chunks * PIXELS
        clipped = np.int64(0)
        for pixel in range(first, min(first + PIXELS, pixels)):
            clipped += _normalize_row(
                x[sample, pixel],
                fraction,
                scaling[sample, 0],
                scaling[sample, 1],
                scaling[sample, 2],
                scaling[sample, 3],
                gain,
                addend,
                total_bits,
                low,
                high,
                codes[sample, pixel],
            )
        saturated += clipped
    return saturated
