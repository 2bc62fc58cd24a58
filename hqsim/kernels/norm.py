"""GroupNorm and LayerNorm in integers: two passes, exact square root, one rounding at the end."""

from __future__ import annotations

import numpy as np
from numba import prange

from hqsim.kernels.jit import kernel
from hqsim.kernels.scalar import bit_length, clamp, integer_sqrt, round_shift


@kernel
def normalize(x, fraction, epsilon, gain, gain_bits, offset, low, high, codes):
    """Normalize each row of ``x [rows, channels, inner]``; return the number of saturated codes.

    With ``f = fraction``: ``mean`` in ``f`` fractional bits, ``d = (x << f) - mean``,
    ``V = max(1, sum d^2 + epsilon)``, ``1/sqrt(V)`` by an exact integer square root and a division,
    ``t = d / sqrt(V)`` in 30 fractional bits, then ``t * gain + offset`` and one rounding. ``gain`` and
    ``offset`` are int64 ``[groups, channels]``, row ``r`` uses group ``r % groups``; the offset has 16
    fractional bits.
    """
    rows, channels, inner = x.shape
    n = channels * inner
    groups = gain.shape[0]
    total_bits = 30 + gain_bits
    saturated = 0
    for row in prange(rows):
        group = row % groups
        total = np.int64(0)
        for c in range(channels):
            for i in range(inner):
                total += x[row, c, i]
        mean = ((total << fraction) * 2 + n) // (2 * n)
        spread = np.int64(epsilon)
        for c in range(channels):
            for i in range(inner):
                d = (np.int64(x[row, c, i]) << fraction) - mean
                spread += d * d
        spread = max(spread, np.int64(1))
        h = 62 - bit_length(spread)
        h -= h & 1
        inverse = (np.int64(1) << 54) // integer_sqrt(spread << h)
        places = 24 - h // 2
        clipped = 0
        for c in range(channels):
            factor = gain[group, c]
            addend = offset[group, c] << (total_bits - 16)
            for i in range(inner):
                d = (np.int64(x[row, c, i]) << fraction) - mean
                value = round_shift(round_shift(d * inverse, places) * factor + addend, total_bits)
                code = clamp(value, low, high)
                clipped += value != code
                codes[row, c, i] = code
        saturated += clipped
    return saturated
