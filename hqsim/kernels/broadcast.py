"""Element-wise rescales with a repeated operand: sum, product, and the addition of a constant."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.scalar import clamp, round_shift
from hqsim.kernels.threads import part_of, share, team_size


@helper
def _add_broadcast(worker, threads, a, b, multiplier_a, multiplier_b, shift, low, high, codes):
    outer, middle, inner = a.shape
    saturated = np.int64(0)
    begin, end = part_of(worker, threads, outer * middle)
    for row in range(begin, end):
        index, position = row // middle, row % middle
        if b.shape[2] == inner:
            for i in range(inner):
                total = a[index, position, i] * multiplier_a + b[index, 0, i] * multiplier_b
                value = round_shift(total, shift)
                code = clamp(value, low, high)
                saturated += value != code
                codes[index, position, i] = code
        else:
            addend = b[index, position, 0] * multiplier_b
            for i in range(inner):
                value = round_shift(a[index, position, i] * multiplier_a + addend, shift)
                code = clamp(value, low, high)
                saturated += value != code
                codes[index, position, i] = code
    return saturated


@kernel
def add_broadcast(a, b, multiplier_a, multiplier_b, shift, low, high, codes):
    """Write ``clamp(round_shift(a * multiplier_a + b * multiplier_b, shift))``; return what saturated.

    ``a`` and ``codes`` are ``[outer, middle, inner]``, ``b`` is ``[outer, 1, inner]`` (the same for all of
    ``middle``) or ``[outer, middle, 1]`` (the same for all of ``inner``).
    """
    return share(_add_broadcast, team_size(), (a, b, multiplier_a, multiplier_b, shift, low, high, codes))


@helper
def _multiply_broadcast(worker, threads, a, b, multiplier, shift, low, high, codes):
    outer, middle, inner = a.shape
    saturated = np.int64(0)
    begin, end = part_of(worker, threads, outer * middle)
    for row in range(begin, end):
        index, position = row // middle, row % middle
        source = position if b.shape[1] == middle else 0
        if b.shape[2] == inner:
            for i in range(inner):
                product = np.int64(a[index, position, i]) * b[index, source, i]
                value = round_shift(product * multiplier, shift)
                code = clamp(value, low, high)
                saturated += value != code
                codes[index, position, i] = code
        else:
            factor = b[index, source, 0] * multiplier
            for i in range(inner):
                value = round_shift(a[index, position, i] * factor, shift)
                code = clamp(value, low, high)
                saturated += value != code
                codes[index, position, i] = code
    return saturated


@kernel
def multiply_broadcast(a, b, multiplier, shift, low, high, codes):
    """Write ``clamp(round_shift(a * b * multiplier, shift))``; return the number of saturated codes.

    ``a`` and ``codes`` are ``[outer, middle, inner]``; ``b`` has that shape, or length 1 along ``middle`` or
    along ``inner``.
    """
    return share(_multiply_broadcast, team_size(), (a, b, multiplier, shift, low, high, codes))


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
