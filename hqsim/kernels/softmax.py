"""Softmax in integers: one exponential table per layer, one exact division per element by a reciprocal."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.scalar import round_shift
from hqsim.kernels.threads import part_of, share, team_size


@helper
def _exponentials(worker, threads, high_table, low_table, low_bits, table):
    mask = (1 << low_bits) - 1
    begin, end = part_of(worker, threads, table.shape[0])
    for d in range(begin, end):
        table[d] = round_shift(high_table[d >> low_bits] * low_table[d & mask], 24)


@kernel
def exponentials(high_table, low_table, low_bits, table):
    """Write ``table[d] = round_shift(high_table[d >> low_bits] * low_table[d & mask], 24)``, int32."""
    share(_exponentials, team_size(), (high_table, low_table, low_bits, table))


@helper
def _largest(x):
    largest = x[0]
    for i in range(1, x.shape[0]):
        largest = max(largest, x[i])
    return largest


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


@helper
def _softmax(worker, threads, x, table, bits, codes):
    top, saturated = (np.int64(1) << bits) - 1, np.int64(0)
    weights = np.empty(x.shape[1], np.int32)
    begin, end = part_of(worker, threads, x.shape[0])
    for row in range(begin, end):
        total = _weigh(x[row], _largest(x[row]), table, weights)
        saturated += _divide(weights, total, bits, top, codes[row])
    return saturated


@kernel
def softmax(x, table, bits, codes):
    """Write the softmax of each row of ``x [rows, n]`` as unsigned ``bits``-bit probabilities.

    ``e = table[max - x]``, 24 fractional bits, then ``p = min(2**bits - 1, (e * 2**(bits+1) + S) // (2 S))``:
    the division rounds half up. ``S >= 2**24``, because the largest element weighs ``2**24``; ``bits <= 16``.
    Returns the number of saturated codes.
    """
    return share(_softmax, team_size(), (x, table, bits, codes))
