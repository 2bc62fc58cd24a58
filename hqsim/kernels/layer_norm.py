"""LayerNorm in integers: rows along the last axis, two passes, exact square root, one rounding at the end."""

from __future__ import annotations

import numpy as np
from numba import prange

from hqsim.kernels.jit import kernel
from hqsim.kernels.scalar import bit_length, clamp, integer_sqrt, round_shift


@kernel
def normalize_rows(x, fraction, epsilon, gain, gain_bits, offset, low, high, codes):
    """Normalize each row of ``x [rows, n]``; return the number of saturated codes.

    The formula of ``group_normalize``; ``gain`` and ``offset`` are int64 ``[n]``, one per element of the row.
    """
    rows, n = x.shape
    total_bits = 30 + gain_bits
    saturated = 0
    for row in prange(rows):
        total = np.int64(0)
        for i in range(n):
            total += x[row, i]
        mean = ((total << fraction) * 2 + n) // (2 * n)
        spread = np.int64(epsilon)
        for i in range(n):
            d = (np.int64(x[row, i]) << fraction) - mean
            spread += d * d
        spread = max(spread, np.int64(1))
        h = 62 - bit_length(spread)
        h -= h & 1
        inverse = (np.int64(1) << 54) // integer_sqrt(spread << h)
        places = 24 - h // 2
        clipped = 0
        for i in range(n):
            d = (np.int64(x[row, i]) << fraction) - mean
            addend = offset[i] << (total_bits - 16)
            value = round_shift(round_shift(d * inverse, places) * gain[i] + addend, total_bits)
            code = clamp(value, low, high)
            clipped += value != code
            codes[row, i] = code
        saturated += clipped
    return saturated
