"""LayerNorm in integers: rows along the last axis, exact square root, one rounding at the end."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.group_norm import addends, normalize_row, scaling_of
from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.threads import part_of, share, team_size


@helper
def _normalize(worker, threads, x, fraction, epsilon, gain, addend, total_bits, low, high, codes):
    n = x.shape[1]
    scaling, rounding = np.empty((2, n), np.int32), np.empty((2, n), np.int64)
    saturated = np.int64(0)
    begin, end = part_of(worker, threads, x.shape[0])
    for row in range(begin, end):
        total, square = np.int64(0), np.int64(0)
        for i in range(n):
            q = np.int64(x[row, i])
            total += q
            square += q * q
        mean, inverse, half, places = scaling_of(total, square, n, fraction, epsilon)
        for i in range(n):
            scaling[0, i], scaling[1, i] = mean, inverse
            rounding[0, i], rounding[1, i] = half, places
        saturated += normalize_row(
            x[row],
            fraction,
            scaling[0],
            scaling[1],
            rounding[0],
            rounding[1],
            gain,
            addend,
            total_bits,
            low,
            high,
            codes[row],
        )
    return saturated


@kernel
def normalize_rows(x, fraction, epsilon, gain, gain_bits, offset, low, high, codes):
    """Normalize each row of ``x [rows, n]``; return the number of saturated codes.

    The formula of ``group_normalize``; ``gain`` and ``offset`` are int64 ``[n]``, one per element of the row.
    """
    total_bits = 30 + gain_bits
    gains, addend = gain.astype(np.int32), addends(offset, total_bits)
    arguments = (x, fraction, epsilon, gains, addend, total_bits, low, high, codes)
    return share(_normalize, team_size(), arguments)
