"""Rescales, one multiply, one shift, one rounding: of codes, of two added or multiplied, of sums; look-ups.

Kernels work on flat arrays, whatever their shape was. Of a slice they take runs: ``run`` elements side by
side, from one run to the next ``pitch`` elements.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.lanes import LANE, SIZE, elements, filled, is_signed, lane_intrinsic, lane_loop
from hqsim.kernels.scalar import clamp
from hqsim.kernels.threads import part_of, run_at, share, team_size


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


@helper
def _rescale_runs(worker, threads, x, multiplier, half, left, right, low, high, run, pitch, codes):
    saturated = np.int64(0)
    begin, end = part_of(worker, threads, x.shape[0])
    while begin < end:
        place, count = run_at(begin, end, run, pitch)
        source, target = elements(x, begin, count), elements(codes, place, count)
        saturated += rescale_lanes(source, multiplier, half, left, right, low, high, np.int64(0), target)
        begin += count
    return saturated


@kernel
def rescale_runs(x, multiplier, shift, low, high, run, pitch, codes):
    """Write ``clamp(round_shift(x * multiplier, shift))`` to runs of ``codes``; return what saturated."""
    right, left = max(shift, np.int64(0)), max(-shift, np.int64(0))
    numbers = (multiplier, half_of(shift), left, right, low, high)
    return share(_rescale_runs, team_size(), (x, *numbers, run, pitch, codes))


def _plain_add(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes):
    total = a * np.int64(multiplier_a) + b * np.int64(multiplier_b)
    return plain_clamp(((total + half) << left) >> right, low, high, codes)


def _emit_end(step, value, first, element=SIZE):
    """Round, shift, clamp and store, by the arguments from ``first`` on; return a mask of what saturated.

    In 32 bits nothing is shifted to the left.
    """
    builder = step.builder
    half, left, right, low, high = (step.scalar(first + position, element) for position in range(5))
    value = builder.add(value, half)
    value = builder.ashr(builder.shl(value, left) if element is SIZE else value, right)
    code, saturated = step.clamp(value, low, high)
    step.store(first + 5, code)
    return saturated


def _add_loop(product, element):
    """Return the intrinsic of a sum: ``product(step, codes, multiplier)`` of each side, in ``element``."""

    @lane_intrinsic(_plain_add)
    def add(typing_context, a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes):
        def emit(step):
            total = step.builder.add(product(step, 0, 2), product(step, 1, 3))
            return _emit_end(step, total, 4, element)

        return lane_loop(16, emit, a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes)

    return add


_add_narrow = _add_loop(lambda step, x, m: step.builder.mul(step.load(x, LANE), step.scalar(m, LANE)), LANE)
_add_lanes = _add_loop(lambda step, x, m: step.product(step.load(x, LANE), step.scalar(m, LANE)), SIZE)
_add_wide = _add_loop(lambda step, x, m: step.builder.mul(step.load(x, SIZE), step.scalar(m, SIZE)), SIZE)


@helper
def add_run(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes):
    """As ``rescale_lanes``, of a sum, ``half`` being added; in 32 bits, of 32-bit factors, or in 64 bits."""
    largest, size = max(abs(multiplier_a), abs(multiplier_b)), max(a.itemsize, b.itemsize)
    # Codes of 16 bits and factors of 15: 2**31 - 2**16 at most, before the rounding.
    if largest < 1 << 15 and size <= 2 and left == 0 and right <= 16 and is_signed(a) and is_signed(b):
        return _add_narrow(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes)
    if largest < 1 << 31 and size < 8:
        return _add_lanes(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes)
    return _add_wide(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes)


@helper
def _add_rescaled(worker, threads, a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes):
    begin, end = part_of(worker, threads, a.shape[0])
    a, b, codes = a[begin:end], b[begin:end], codes[begin:end]
    return add_run(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes)


@kernel
def add_rescaled(a, b, multiplier_a, multiplier_b, shift, low, high, codes):
    """Write ``clamp(round_shift(a * multiplier_a + b * multiplier_b, shift))`` for ``a [n]`` and ``b [n]``.

    Returns the number of saturated codes. The multipliers of the sampler may exceed 32 bits.
    """
    right, left = max(shift, np.int64(0)), max(-shift, np.int64(0))
    arguments = (a, b, multiplier_a, multiplier_b, half_of(shift), left, right, low, high, codes)
    return share(_add_rescaled, team_size(), arguments)


def _plain_multiply(a, b, multiplier, half, left, right, low, high, codes):
    products = a.astype(np.int64) * b * multiplier
    return plain_clamp(((products + half) << left) >> right, low, high, codes)


@lane_intrinsic(_plain_multiply)
def multiply_lanes(typing_context, a, b, multiplier, half, left, right, low, high, codes):
    """As ``rescale_lanes``, of a product, ``half`` being added; the multiplier fits 32 bits."""
    dtypes = (a.dtype, b.dtype)
    # The product of two fits 32 bits too, but of two unsigned ones.
    narrow = all(dtype.bitwidth <= 16 for dtype in dtypes) and any(dtype.signed for dtype in dtypes)

    def emit(step):
        builder = step.builder
        product = builder.mul(*(step.load(x, LANE if narrow else SIZE) for x in (0, 1)))
        if narrow:
            return _emit_end(step, step.product(product, step.scalar(2, LANE)), 3)
        return _emit_end(step, builder.mul(product, step.scalar(2, SIZE)), 3)

    return lane_loop(16, emit, a, b, multiplier, half, left, right, low, high, codes)


@helper
def _multiply_rescaled(
    worker, threads, a, pitch_a, b, pitch_b, run, multiplier, half, left, right, low, high, codes
):
    saturated = np.int64(0)
    begin, end = part_of(worker, threads, codes.shape[0])
    while begin < end:
        (place, count), (other, _) = run_at(begin, end, run, pitch_a), run_at(begin, end, run, pitch_b)
        saturated += multiply_lanes(
            elements(a, place, count),
            elements(b, other, count),
            multiplier,
            half,
            left,
            right,
            low,
            high,
            elements(codes, begin, count),
        )
        begin += count
    return saturated


@kernel
def multiply_rescaled(a, pitch_a, b, pitch_b, run, multiplier, shift, low, high, codes):
    """Write ``clamp(round_shift(a * b * multiplier, shift))``; return the number of saturated codes.

    ``codes [n]``, of runs of ``a`` and of ``b``; the multiplier fits 32 bits.
    """
    right, left = max(shift, np.int64(0)), max(-shift, np.int64(0))
    numbers = (multiplier, half_of(shift), left, right, low, high)
    return share(_multiply_rescaled, team_size(), (a, pitch_a, b, pitch_b, run, *numbers, codes))


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


def _plain_look_up(x, first, table, codes):
    entries = table[x.astype(np.int64) - first]
    codes[:] = entries >> 1
    return np.count_nonzero(entries & 1)


@lane_intrinsic(_plain_look_up)
def _look_up_lanes(typing_context, x, first, table, codes):
    """Write half of every code's entry; count the odd ones."""

    def emit(step):
        builder = step.builder
        entries = step.entries(2, builder.sub(step.load(0, LANE), step.scalar(1, LANE)))
        step.store(3, builder.ashr(entries, filled(entries.type, 1)))
        return builder.trunc(entries, ir.VectorType(ir.IntType(1), step.lanes))

    return lane_loop(16, emit, x, first, table, codes)


@helper
def _look_up(worker, threads, x, pitch, run, first, table, codes):
    saturated = np.int64(0)
    begin, end = part_of(worker, threads, codes.shape[0])
    while begin < end:
        place, count = run_at(begin, end, run, pitch)
        source, target = elements(x, place, count), elements(codes, begin, count)
        saturated += _look_up_lanes(source, first, table, target)
        begin += count
    return saturated


@kernel
def look_up(x, pitch, run, first, table, codes):
    """Write a function of narrow codes ``x`` by a table of all of them; return what saturated.

    ``codes [n]``, of runs of ``x``. Entry ``x - first`` of ``table`` int32 holds twice the result, plus one
    where it saturated; ``first`` is int32.
    """
    return share(_look_up, team_size(), (x, pitch, run, first, table, codes))
