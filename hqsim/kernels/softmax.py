"""Softmax in integers: two exponential tables, one exact division per element."""

from __future__ import annotations

import numpy as np
from numba import prange

from hqsim.kernels.jit import kernel
from hqsim.kernels.scalar import round_shift


@kernel
def softmax(x, high_table, low_table, low_bits, bits, codes):
    """Write the softmax of each row of ``x [rows, n]`` as unsigned ``bits``-bit probabilities.

    ``e = round_shift(high_table[d >> low_bits] * low_table[d & mask], 24)`` with ``d = max - x``, then
    ``p = min(2**bits - 1, (e * 2**(bits+1) + S) // (2 S))``: the division rounds half up. Returns the
    number of saturated codes.
    """
    rows, n = x.shape
    mask = (1 << low_bits) - 1
    top = (np.int64(1) << bits) - 1
    saturated = 0
    for row in prange(rows):
        largest = np.int64(x[row, 0])
        for i in range(1, n):
            largest = max(largest, np.int64(x[row, i]))
        weights = np.empty(n, np.int64)
        total = np.int64(0)
        for i in range(n):
            distance = largest - x[row, i]
            weights[i] = round_shift(high_table[distance >> low_bits] * low_table[distance & mask], 24)
            total += weights[i]
        clipped = 0
        for i in range(n):
            value = ((weights[i] << (bits + 1)) + total) // (2 * total)
            clipped += value > top
            codes[row, i] = min(value, top)
        saturated += clipped
    return saturated
