"""Rescales, one multiply, one shift, one rounding: of codes, a sum of two, sums of products; and look-ups.

Kernels work on flat arrays, whatever their shape was.
"""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.lanes import LANE, SIZE, lane_intrinsic, lane_loop
from hqsim.kernels.scalar import clamp
from hqsim.kernels.threads import part_of, share, team_size


def plain_clamp(values, low, high, codes):
    """Write clamped ``values``; return how many changed (plain form of a loop's end)."""
    codes[:] = np.clip(values, low, high)
    return np.count_nonzero((values < low) | (values > high))


@helper
def half_of(shift):
    """Return what makes an arithmetic shift by ``shift`` round half up (0 for a shift to the left)."""
    return (np.int64(1) << max(shift, np.int64(0))) >> 1


def _plain_rescale(x, multiplier, offset, left, right, low, high, zero, codes):
    values = ((x * np.int64(multiplier) + offset) << left) >> right
    return plain_clamp(values + zero, low + zero, high + zero, codes)


@lane_intrinsic(_plain_rescale)
def rescale_lanes(typing_context, x, multiplier, offset, left, right, low, high, zero, codes):
    """Write ``clamp(((x * multiplier + offset) << left) >> right, low, high) + zero``; count what saturated.

    ``x`` and ``multiplier`` fit 32 bits, or ``x`` is an int64 array.
    """

    def emit(step):
        builder = step.builder
        if step.kinds[0].dtype.bitwidth == 64:
            value = builder.mul(step.load(0, SIZE), step.scalar(1, SIZE))
        else:
            value = step.product(step.load(0, LANE), step.scalar(1, LANE))
        value = builder.add(value, step.scalar(2, SIZE))
        value = builder.ashr(builder.shl(value, step.scalar(3, SIZE)), step.scalar(4, SIZE))
        code, saturated = step.clamp(value, step.scalar(5, SIZE), step.scalar(6, SIZE))
        step.store(8, builder.add(code, step.scalar(7, SIZE)))
        return saturated

    return lane_loop(16, emit, x, multiplier, offset, left, right, low, high, zero, codes)


@helper
def _rescale(worker, threads, x, multiplier, offset, left, right, low, high, zero, codes):
    begin, end = part_of(worker, threads, x.shape[0])
    return rescale_lanes(x[begin:end], multiplier, offset, left, right, low, high, zero, codes[begin:end])


@kernel
def rescale(x, multiplier, shift, offset, zero, low, high, codes):
    """Write ``clamp(round_shift(x * multiplier + offset, shift) + zero)``; return what saturated.

    ``x [n]`` and ``multiplier`` fit 32 bits, or ``x`` is an int64 array.
    """
    right, left = max(shift, np.int64(0)), max(-shift, np.int64(0))
    arguments = (x, multiplier, offset + half_of(shift), left, right, low - zero, high - zero, zero, codes)
    return share(_rescale, team_size(), arguments)


def _plain_add(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes):
    total = a * np.int64(multiplier_a) + b * np.int64(multiplier_b)
    return plain_clamp(((total + half) << left) >> right, low, high, codes)


def _emit_add(step, products):
    """Add two products, shift, clamp and store; return the mask of what saturated."""
    builder = step.builder
    value = builder.add(builder.add(*products), step.scalar(4, SIZE))
    value = builder.ashr(builder.shl(value, step.scalar(5, SIZE)), step.scalar(6, SIZE))
    code, saturated = step.clamp(value, step.scalar(7, SIZE), step.scalar(8, SIZE))
    step.store(9, code)
    return saturated


@lane_intrinsic(_plain_add)
def _add_lanes(typing_context, a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes):
    """As ``rescale_lanes``, of a sum; codes and multipliers fit 32 bits."""

    def emit(step):
        pairs = ((0, 2), (1, 3))
        return _emit_add(step, [step.product(step.load(x, LANE), step.scalar(m, LANE)) for x, m in pairs])

    return lane_loop(16, emit, a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes)


@lane_intrinsic(_plain_add)
def _add_wide_lanes(typing_context, a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes):
    """The same for multipliers of any size."""

    def emit(step):
        pairs = ((0, 2), (1, 3))
        return _emit_add(step, [step.builder.mul(step.load(x, SIZE), step.scalar(m, SIZE)) for x, m in pairs])

    return lane_loop(16, emit, a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes)


@helper
def _add_rescaled(worker, threads, a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes):
    begin, end = part_of(worker, threads, a.shape[0])
    a, b, codes = a[begin:end], b[begin:end], codes[begin:end]
    if max(abs(multiplier_a), abs(multiplier_b)) < 1 << 31 and max(a.itemsize, b.itemsize) < 8:
        return _add_lanes(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes)
    return _add_wide_lanes(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes)


@kernel
def add_rescaled(a, b, multiplier_a, multiplier_b, shift, low, high, codes):
    """Write ``clamp(round_shift(a * multiplier_a + b * multiplier_b, shift))`` for ``a [n]`` and ``b [n]``.

    Returns the number of saturated codes. The multipliers of the sampler may exceed 32 bits.
    """
    right, left = max(shift, np.int64(0)), max(-shift, np.int64(0))
    arguments = (a, b, multiplier_a, multiplier_b, half_of(shift), left, right, low, high, codes)
    return share(_add_rescaled, team_size(), arguments)


@helper
def _add_product(sums, factor, total):
    for i in range(sums.shape[0]):
        total[i] += sums[i] * factor[i]


@helper
def _shift_row(total, shift, low, high, codes):
    clipped = np.int64(0)
    for i in range(total.shape[0]):
        value = total[i] >> shift[i]
        code = clamp(value, low, high)
        clipped += np.int64(value != code)
        codes[i] = code
    return clipped


@helper
def _rescale_sums(worker, threads, sums, factor, addend, shift, low, high, codes):
    segments, rows, _ = sums.shape
    saturated = np.int64(0)
    begin, end = part_of(worker, threads, rows)
    for row in range(begin, end):
        total = addend.copy()
        for segment in range(segments):
            _add_product(sums[segment, row], factor[segment], total)
        saturated += _shift_row(total, shift, low, high, codes[row])
    return saturated


@kernel
def rescale_sums(sums, factor, addend, shift, low, high, codes):
    """Rescale sums of products to ``codes [rows, columns]``; return the number of saturated codes.

    ``clamp((sum_g sums[g] * factor[g] + addend) >> shift)`` with ``sums`` int64 ``[segments, rows,
    columns]``, ``factor`` int64 ``[segments, columns]``, ``addend`` (bias and rounding) and ``shift`` int64
    ``[columns]``: one rounding.
    """
    return share(_rescale_sums, team_size(), (sums, factor, addend, shift, low, high, codes))


@helper
def _look_up(worker, threads, x, first, table, codes):
    begin, end = part_of(worker, threads, x.shape[0])
    # Slices, because numba leaves out its test for negative indices where a loop starts at 0.
    x, codes, saturated = x[begin:end], codes[begin:end], np.int64(0)
    for i in range(x.shape[0]):
        entry = table[np.uint32(np.int32(x[i]) - first)]
        codes[i] = entry >> 1
        saturated += np.int64(entry & 1)
    return saturated


@kernel
def look_up(x, first, table, codes):
    """Write a function of narrow codes ``x [n]`` by a table of all of them; return what saturated.

    ``table`` int32: entry ``x - first`` holds twice the result, plus one where it saturated; ``first`` int32.
    """
    return share(_look_up, team_size(), (x, first, table, codes))
