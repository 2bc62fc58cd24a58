"""LayerNorm in integers: rows along the last axis, exact square root, one rounding at the end."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.lanes import elements
from hqsim.kernels.normalize import addends, normalize_by_row, scaling_of
from hqsim.kernels.threads import part_of, share, team_size

BLOCK_ROWS = 16
"""Rows that are read twice, for their sums and for their codes: they stay in the first cache."""


@helper
def _sum_row(row):
    total, square = np.int64(0), np.int64(0)
    for i in range(row.shape[0]):
        q = np.int64(row[i])
        total += q
        square += q * q
    return total, square


@helper
def _normalize(worker, threads, x, fraction, epsilon, gain, addend, total_bits, low, high, codes):
    n, saturated = x.shape[1], np.zeros(1, np.int64)
    scaling, rounding = np.empty((2, BLOCK_ROWS), np.int32), np.empty((2, BLOCK_ROWS), np.int64)
    begin, end = part_of(worker, threads, x.shape[0])
    for first in range(begin, end, BLOCK_ROWS):
        count = min(BLOCK_ROWS, end - first)
        for row in range(count):
            total, square = _sum_row(elements(x, (first + row) * n, n))
            mean, inverse, half, places = scaling_of(total, square, n, fraction, epsilon)
            scaling[0, row], scaling[1, row] = mean, inverse
            rounding[0, row], rounding[1, row] = half, places
        rows, goal = x[first : first + count], codes[first : first + count]
        normalize_by_row(
            count, gain, addend, scaling, rounding, fraction, total_bits, low, high, rows, goal, saturated
        )
    return saturated[0]


@kernel
def normalize_rows(x, fraction, epsilon, gain, gain_bits, offset, low, high, codes):
    """Normalize each row of ``x [rows, n]``; return the number of saturated codes.

    The formula of ``group_normalize``; ``gain`` and ``offset`` are int64 ``[n]``, one per element of the row.
    """
    total_bits = 30 + gain_bits
    gains, addend = gain.astype(np.int32), addends(offset, total_bits)
    arguments = (x, fraction, epsilon, gains, addend, total_bits, low, high, codes)
    return share(_normalize, team_size(), arguments)
