"""Softmax in integers: one exponential table per layer, one exact division per element by a reciprocal."""

from __future__ import annotations

import numpy as np
from numba import prange

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.scalar import round_shift


@kernel
def exponentials(high_table, low_table, low_bits, table):
    """Write ``table[d] = round_shift(high_table[d >> low_bits] * low_table[d & mask], 24)``, int32."""
    mask = (1 << low_bits) - 1
    for d in prange(table.shape[0]):
        table[d] = round_shift(high_table[d >> low_bits] * low_table[d & mask], 24)


@helper
def _weigh(x, largest, table, weights):
    total = np.int64(0)
    for i in range(x.shape[0]):
        weight = table[np.uint32(np.int32(largest) - np.int32(x[i]))]
        weights[i] = weight
        total += np.int64(weight)
    return total


@helper
def _divide(weights, total, bits, top, codes):
    """``min(top, (e * 2**(bits+1) + S) // (2 S))``: the quotient by a reciprocal is at most one too small."""
    divisor = 2 * total
    reciprocal = (np.int64(1) << 45) // divisor
    clipped = np.int64(0)
    for i in range(weights.shape[0]):
        numerator = (np.int64(weights[i]) << (bits + 1)) + total
        quotient = (numerator * reciprocal) >> 45
        quotient += np.int64(numerator - quotient * divisor >= divisor)
        clipped += np.int64(quotient > top)
        codes[i] = min(quotient, top)
    return clipped


@kernel
def softmax(x, table, bits, codes):
    """Write the softmax of each row of ``x [rows, n]`` as unsigned ``bits``-bit probabilities.

    ``e = table[max - x]``, 24 fractional bits, then ``p = min(2**bits - 1, (e * 2**(bits+1) + S) // (2 S))``:
    the division rounds half up. ``S >= 2**24``, because the largest element weighs ``2**24``; ``bits <= 16``.
    Returns the number of saturated codes.
    """
    rows, n = x.shape
    top = (np.int64(1) << bits) - 1
    saturated = 0
    for row in prange(rows):
        largest = x[row].max()
        weights = np.empty(n, np.int32)
        total = _weigh(x[row], largest, table, weights)
        saturated += _divide(weights, total, bits, top, codes[row])
    return saturated
