"""Modelled accumulators that wrap or saturate."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.scalar import ONE, clamp
from hqsim.kernels.threads import part_of, share, team_size


@helper
def _wrap(worker, threads, bits, sums):
    places, events = 64 - bits, np.int64(0)
    begin, end = part_of(worker, threads, sums.shape[0])
    for i in range(begin, end):
        wrapped = (sums[i] << places) >> places
        events += wrapped != sums[i]
        sums[i] = wrapped
    return events


@kernel
def wrap(bits, sums):
    """Wrap int64 ``sums [n]`` in place to ``bits`` bits of two's complement; return how many changed."""
    return share(_wrap, team_size(), (bits, sums))


@helper
def _matmul_saturate(worker, threads, a, b, bits, sums):
    count, m, terms = a.shape
    n = b.shape[2]
    low, high = -(ONE << (bits - 1)), (ONE << (bits - 1)) - 1
    events = np.int64(0)
    begin, end = part_of(worker, threads, count * m)
    for unit in range(begin, end):
        index, row = unit // m, unit % m
        sums[index, row] = 0
        for k in range(terms):
            factor = np.int64(a[index, row, k])
            for column in range(n):
                total = sums[index, row, column] + factor * b[index, k, column]
                limited = clamp(total, low, high)
                events += limited != total
                sums[index, row, column] = limited
    return events


@kernel
def matmul_saturate(a, b, bits, sums):
    """Write ``a [count, m, k] @ b [count, k, n]`` into ``sums``, clamped to ``bits`` bits after every term.

    ``a`` and ``b`` are int32, ``sums`` is int64; terms are added in the order of ``k``. Returns the number
    of additions that clamped.
    """
    return share(_matmul_saturate, team_size(), (a, b, bits, sums))
