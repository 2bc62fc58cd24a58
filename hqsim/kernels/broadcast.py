"""Element-wise rescales with a repeated operand: sum, product, and the addition of a constant."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.lanes import elements
from hqsim.kernels.rescale import add_run, half_of, multiply_lanes, rescale_lanes
from hqsim.kernels.scalar import clamp, round_shift
from hqsim.kernels.threads import part_of, share, team_size


@helper
def _add_broadcast(worker, threads, a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes):
    outer, middle, inner = a.shape
    saturated = np.int64(0)
    begin, end = part_of(worker, threads, outer * middle)
    for row in range(begin, end):
        x, result = elements(a, row * inner, inner), elements(codes, row * inner, inner)
        if b.shape[2] == inner:
            other = elements(b, row // middle * inner, inner)
            saturated += add_run(x, other, multiplier_a, multiplier_b, half, left, right, low, high, result)
        else:
            addend = b[row // middle, row % middle, 0] * multiplier_b + half
            saturated += rescale_lanes(x, multiplier_a, addend, left, right, low, high, np.int64(0), result)
    return saturated


@kernel
def add_broadcast(a, b, multiplier_a, multiplier_b, shift, low, high, codes):
    """Write ``clamp(round_shift(a * multiplier_a + b * multiplier_b, shift))``; return what saturated.

    ``a`` and ``codes`` are ``[outer, middle, inner]``, ``b`` is ``[outer, 1, inner]`` (the same for all of
    ``middle``) or ``[outer, middle, 1]`` (the same for all of ``inner``). Everything fits 32 bits.
    """
    right, left = max(shift, np.int64(0)), max(-shift, np.int64(0))
    numbers = (multiplier_a, multiplier_b, half_of(shift), left, right, low, high)
    return share(_add_broadcast, team_size(), (a, b, *numbers, codes))


@helper
def _multiply_broadcast(worker, threads, a, b, multiplier, half, left, right, low, high, codes):
    outer, middle, inner = a.shape
    saturated = np.int64(0)
    begin, end = part_of(worker, threads, outer * middle)
    for row in range(begin, end):
        x, result = elements(a, row * inner, inner), elements(codes, row * inner, inner)
        if b.shape[2] == inner:
            other = elements(b, row // middle * inner, inner)
            saturated += multiply_lanes(x, other, multiplier, half, left, right, low, high, result)
        else:
            factor = b[row // middle, row % middle, 0] * multiplier
            saturated += rescale_lanes(x, factor, half, left, right, low, high, np.int64(0), result)
    return saturated


@kernel
def multiply_broadcast(a, b, multiplier, shift, low, high, codes):
    """Write ``clamp(round_shift(a * b * multiplier, shift))``; return the number of saturated codes.

    ``a``, ``b`` and ``codes`` as in :func:`add_broadcast`; ``b * multiplier`` fits 32 bits.
    """
    right, left = max(shift, np.int64(0)), max(-shift, np.int64(0))
    numbers = (multiplier, half_of(shift), left, right, low, high)
    return share(_multiply_broadcast, team_size(), (a, b, *numbers, codes))


@helper
def _add_constant(worker, threads, x, table, multiplier, shift, fraction, low, high, codes):
    rows, inner = x.shape
    period = table.shape[0]
    places = shift - fraction
    saturated = np.int64(0)
    begin, end = part_of(worker, threads, rows)
    for row in range(begin, end):
        source = row % period
        for i in range(inner):
            value = round_shift(x[row, i] * multiplier + (table[source, i] << places), shift)
            code = clamp(value, low, high)
            saturated += value != code
            codes[row, i] = code
    return saturated


@kernel
def add_constant(x, table, multiplier, shift, fraction, low, high, codes):
    """Write ``clamp(round_shift(x * multiplier + table * 2**(shift - fraction), shift))``.

    ``x`` and ``codes`` are ``[rows, inner]``; ``table`` is int64 ``[period, inner]``, row ``r`` uses its row
    ``r % period``, and counts ``2**-fraction`` of an output code. Returns the number of saturated codes.
    """
    return share(_add_constant, team_size(), (x, table, multiplier, shift, fraction, low, high, codes))
