"""Modelled accumulators that wrap or saturate."""

from __future__ import annotations

import numpy as np
from numba import prange

from hqsim.kernels.jit import kernel
from hqsim.kernels.scalar import ONE, clamp


@kernel
def wrap(bits, sums):
    """Wrap int64 ``sums [n]`` in place to ``bits`` bits of two's complement; return how many changed."""
    places = 64 - bits
    events = 0
    for i in prange(sums.shape[0]):
        wrapped = (sums[i] << places) >> places
        events += wrapped != sums[i]
        sums[i] = wrapped
    return events


@kernel
def matmul_saturate(a, b, bits, sums):
    """Write ``a [count, m, k] @ b [count, k, n]`` into ``sums``, clamped to ``bits`` bits after every term.

    ``a`` and ``b`` are int32, ``sums`` is int64; terms are added in the order of ``k``. Returns the number
    of additions that clamped.
    """
    count, m, terms = a.shape
    n = b.shape[2]
    low, high = -(ONE << (bits - 1)), (ONE << (bits - 1)) - 1
    events = 0
    for unit in prange(count * m):
        index, row = unit // m, unit % m
        sums[index, row] = 0
        clamped = 0
        for k in range(terms):
            factor = np.int64(a[index, row, k])
            for column in range(n):
                total = sums[index, row, column] + factor * b[index, k, column]
                limited = clamp(total, low, high)
                clamped += limited != total
                sums[index, row, column] = limited
        events += clamped
    return events
