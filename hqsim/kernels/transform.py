"""±1 butterflies: the forward transform fused with the operand quantizer, and the integer inverse.

Arrays are viewed as ``[outer, length, inner]``; the transform runs along ``length`` in blocks of
``2**order``: for many neighbouring lanes of ``inner`` at a time, or, when ``inner`` is 1, along rows that
hold their blocks one after another. Butterflies are exact and grow codes by ``order`` bits.
"""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper, kernel, thread_count
from hqsim.kernels.lanes import LANE, WORD, lane_intrinsic, lane_loop, splat
from hqsim.kernels.rescale import rescale_lanes
from hqsim.kernels.threads import part_of, share
from hqsim.kernels.vector import butterflies

BLOCK_BYTES = 16384
"""Size of a block with all its lanes: it stays in the first cache."""
ROW = 32
"""Elements of a row that are transformed in registers."""


def _element(step, position):
    """The type that a loop works in: that of the array which holds transformed values."""
    return LANE if step.kinds[position].dtype.bitwidth == 32 else WORD


def _signed(step, value, signs):
    """``value * signs`` for signs of ±1: with a mask of -1, ``(value ^ mask) - mask``."""
    builder = step.builder
    mask = builder.ashr(signs, splat(builder, signs.type.element(signs.type.element.width - 1), signs.type))
    return builder.sub(builder.xor(value, mask), mask)


def _plain_butterfly(upper, lower):
    upper[:], lower[:] = upper + lower, upper - lower


@lane_intrinsic(_plain_butterfly)
def _butterfly(typing_context, upper, lower):
    """Write ``upper + lower`` and ``upper - lower`` in place, int16 or int32."""

    def emit(step):
        a, b = step.load(0, _element(step, 0)), step.load(1, _element(step, 0))
        step.store(0, step.builder.add(a, b))
        step.store(1, step.builder.sub(a, b))

    return lane_loop(32, emit, upper, lower)


def _plain_centre(x, zero, signs, target):
    target[:] = (x.astype(target.dtype) - target.dtype.type(zero)) * signs


@lane_intrinsic(_plain_centre)
def _centre(typing_context, x, zero, signs, target):
    """Write ``(x - zero) * signs`` in the type of ``target``; ``signs`` ±1, int16, for each element."""

    def emit(step):
        element = _element(step, 3)
        value = step.builder.sub(step.load(0, element), step.scalar(1, element))
        step.store(3, _signed(step, value, step.load(2, element)))

    return lane_loop(32, emit, x, zero, signs, target)


def _plain_finish(values, signs, places, target):
    target[:] = (values * signs) >> places


@lane_intrinsic(_plain_finish)
def _finish(typing_context, values, signs, places, target):
    """Write ``(values * signs) >> places``."""

    def emit(step):
        element = _element(step, 0)
        value = _signed(step, step.load(0, element), step.load(1, element))
        step.store(3, step.builder.ashr(value, step.scalar(2, element)))

    return lane_loop(32, emit, values, signs, places, target)


def _plain_butterflies(a, b, c, d):
    a[:], b[:], c[:], d[:] = a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d


@lane_intrinsic(_plain_butterflies)
def _two_butterflies(typing_context, a, b, c, d):
    """Two stages in place: ``(a, b)`` and ``(c, d)``, then ``(a, c)`` and ``(b, d)``."""

    def emit(step):
        builder = step.builder
        a, b, c, d = (step.load(position, _element(step, 0)) for position in range(4))
        a, b, c, d = builder.add(a, b), builder.sub(a, b), builder.add(c, d), builder.sub(c, d)
        results = builder.add(a, c), builder.add(b, d), builder.sub(a, c), builder.sub(b, d)
        for position, result in enumerate(results):
            step.store(position, result)

    return lane_loop(32, emit, a, b, c, d)


@helper
def _block_butterflies(block, lanes):
    """Transform ``block``, rows of ``lanes`` one after another, in place by the Sylvester-Hadamard matrix."""
    run = lanes
    while 2 * run < block.shape[0]:
        for first in range(0, block.shape[0], 4 * run):
            _two_butterflies(
                block[first : first + run],
                block[first + run : first + 2 * run],
                block[first + 2 * run : first + 3 * run],
                block[first + 3 * run : first + 4 * run],
            )
        run *= 4
    if run < block.shape[0]:
        _butterfly(block[:run], block[run:])


@helper
def _row_butterflies(row, n):
    """Transform the blocks of ``n`` that follow each other in ``row``, a multiple of 32 long."""
    butterflies(row, min(n, ROW))
    half = ROW
    while half < n:
        for start in range(0, row.shape[0], 2 * half):
            _butterfly(row[start : start + half], row[start + half : start + 2 * half])
        half *= 2


@helper
def _repeated(signs, count):
    """Return the signs of ``count`` elements in a row."""
    repeated = np.empty(count, np.int16)
    for i in range(count):
        repeated[i] = signs[i % signs.shape[0]]
    return repeated


@helper
def _lane_signs(signs, lanes):
    """Return the signs of a block's elements in all lanes."""
    rows = np.empty((signs.shape[0], lanes), np.int16)
    for i in range(signs.shape[0]):
        rows[i] = signs[i]
    return rows


@helper
def _lane_count(n, itemsize, inner):
    """Return how many lanes a block of ``n`` takes at a time, a multiple of 64."""
    return max(64, min(BLOCK_BYTES // (n * itemsize) // 64 * 64, (inner + 63) // 64 * 64))


@helper
def _padded(length, n):
    """Return ``length`` filled up to whole vectors and blocks."""
    return (length + max(n, ROW) - 1) // max(n, ROW) * max(n, ROW)


@helper
def _lanes_of(unit, n, most, length, inner):
    """Return row, first element of the block, and its lanes from first to last."""
    blocks, groups = length // n, (inner + most - 1) // most
    first = unit % groups * most
    return unit // (blocks * groups), unit // groups % blocks * n, first, min(first + most, inner)


def quantize_transformed(x, signs, multiplier, shift, zero, low, high, codes):
    """Transform carrier codes and quantize; return the number of saturated codes.

    ``clamp(floor(FWHT(signs * x) * multiplier / 2**shift + 1/2) + zero, low, high)``. ``x`` and ``codes`` are
    ``[outer, length, inner]``, contiguous; ``signs`` ``[2**order]``; ``shift`` in [0, 62]. Codes of up to 26
    bits.
    """
    run = quantize_rows if x.shape[2] == 1 else quantize_lanes
    return run(x, signs, multiplier, shift, zero, low - zero, high - zero, thread_count(), codes)


@helper
def _quantize_rows(worker, threads, x, signs, multiplier, shift, zero, low, high, codes):
    outer, length, _ = x.shape
    values, row_signs = np.zeros(_padded(length, signs.shape[0]), np.int32), _repeated(signs, length)
    half, left, saturated = (np.int64(1) << shift) >> 1, np.int64(0), np.int64(0)
    begin, end = part_of(worker, threads, outer)
    for row in range(begin, end):
        _centre(x[row, :, 0], np.int32(0), row_signs, values[:length])
        _row_butterflies(values, signs.shape[0])
        target = codes[row, :, 0]
        saturated += rescale_lanes(values[:length], multiplier, half, left, shift, low, high, zero, target)
    return saturated


@kernel
def quantize_rows(x, signs, multiplier, shift, zero, low, high, threads, codes):
    """:func:`quantize_transformed` for ``inner`` 1; the limits are those without the zero-point."""
    return share(_quantize_rows, threads, (x, signs, multiplier, shift, zero, low, high, codes))


@helper
def _quantize_lanes(worker, threads, x, signs, multiplier, shift, zero, low, high, codes):
    outer, length, inner = x.shape
    n = signs.shape[0]
    most = _lane_count(n, 4, inner)
    block, lane_signs = np.empty(n * most, np.int32), _lane_signs(signs, most)
    half, left, saturated = (np.int64(1) << shift) >> 1, np.int64(0), np.int64(0)
    begin, end = part_of(worker, threads, outer * (length // n) * ((inner + most - 1) // most))
    for unit in range(begin, end):
        row, start, first, last = _lanes_of(unit, n, most, length, inner)
        lanes = last - first
        values = block[: n * lanes]
        for i in range(n):
            part = values[i * lanes : (i + 1) * lanes]
            _centre(x[row, start + i, first:last], np.int32(0), lane_signs[i, :lanes], part)
        _block_butterflies(values, lanes)
        for i in range(n):
            part = values[i * lanes : (i + 1) * lanes]
            target = codes[row, start + i, first:last]
            saturated += rescale_lanes(part, multiplier, half, left, shift, low, high, zero, target)
    return saturated


@kernel
def quantize_lanes(x, signs, multiplier, shift, zero, low, high, threads, codes):
    """:func:`quantize_transformed` for longer ``inner``; the limits are those without the zero-point."""
    return share(_quantize_lanes, threads, (x, signs, multiplier, shift, zero, low, high, codes))


def invert_transform(codes, signs, zero, halve, operand, parity, *, narrow=None):
    """Write the integer inverse ``signs * ((codes - zero) Ĥ)`` (un-normalised) into ``operand``.

    With ``halve`` the operand is ``floor(value / 2)``, one bit narrower. The lost bit, which all values of a
    block share, goes to ``parity`` uint8 ``[outer, length / n, inner]``; when ``inner`` is 1, it goes twice
    to the end of each row of the operand, which is ``2 * length / n`` longer. ``codes`` may be ``operand``
    itself. ``narrow`` tells that every value on the way fits 16 bits; by itself it holds for codes of 8 bits.
    """
    narrow = codes.dtype.itemsize == 1 if narrow is None else narrow
    scratch = np.empty(0, np.int16 if narrow else np.int32)
    if codes.shape[2] == 1:
        invert_rows(codes, signs, zero, halve, scratch, thread_count(), operand)
    else:
        invert_lanes(codes, signs, zero, halve, scratch, thread_count(), operand, parity)


@helper
def _store_bits(values, target):
    for j in range(target.shape[0]):
        target[j] = values[j] & 1


@helper
def _invert_rows(worker, threads, codes, signs, zero, halve, scratch, operand):
    outer, length, _ = codes.shape
    n = signs.shape[0]
    blocks, places = length // n, 1 if halve else 0
    values = np.zeros(_padded(length, n), scratch.dtype)
    ones, row_signs = np.ones(length, np.int16), _repeated(signs, length)
    begin, end = part_of(worker, threads, outer)
    for row in range(begin, end):
        _centre(codes[row, :, 0], zero, ones, values[:length])
        _row_butterflies(values, n)
        _finish(values[:length], row_signs, places, operand[row, :length, 0])
        if halve:
            _store_bits(values[:length:n], operand[row, length : length + blocks, 0])
            _store_bits(values[:length:n], operand[row, length + blocks :, 0])


@kernel
def invert_rows(codes, signs, zero, halve, scratch, threads, operand):
    """:func:`invert_transform` for ``inner`` 1; ``scratch`` has the type of values on the way."""
    share(_invert_rows, threads, (codes, signs, zero, halve, scratch, operand))


@helper
def _invert_lanes(worker, threads, codes, signs, zero, halve, scratch, operand, parity):
    outer, length, inner = codes.shape
    n, places = signs.shape[0], 1 if halve else 0
    most = _lane_count(n, scratch.itemsize, inner)
    block, lane_signs = np.empty(n * most, scratch.dtype), _lane_signs(signs, most)
    ones = np.ones(most, np.int16)
    begin, end = part_of(worker, threads, outer * (length // n) * ((inner + most - 1) // most))
    for unit in range(begin, end):
        row, start, first, last = _lanes_of(unit, n, most, length, inner)
        lanes = last - first
        values = block[: n * lanes]
        for i in range(n):
            part = values[i * lanes : (i + 1) * lanes]
            _centre(codes[row, start + i, first:last], zero, ones[:lanes], part)
        _block_butterflies(values, lanes)
        for i in range(n):
            part = values[i * lanes : (i + 1) * lanes]
            _finish(part, lane_signs[i, :lanes], places, operand[row, start + i, first:last])
        if halve:
            _store_bits(values[:lanes], parity[row, start // n, first:last])


@kernel
def invert_lanes(codes, signs, zero, halve, scratch, threads, operand, parity):
    """:func:`invert_transform` for longer ``inner``; ``scratch`` has the type of values on the way."""
    share(_invert_lanes, threads, (codes, signs, zero, halve, scratch, operand, parity))
