"""Butterflies along rows: 64 elements at a time stay in registers from codes to codes.

Blocks follow each other in memory, so an array without a tail is one long row. What is left of a row is
copied to a buffer and back, which keeps one copy of the code for all lengths.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.lanes import (
    BYTE,
    LANE,
    SIZE,
    WORD,
    address,
    count_lanes,
    cut,
    data_of,
    filled,
    joined,
    lane_intrinsic,
    load_lanes,
    resized,
    shuffled,
    splat,
    stack_bytes,
    store_lanes,
)
from hqsim.kernels.requantize import Requantizer, factor_of, plain_requantize
from hqsim.kernels.threads import part_of, share

RUN = 64
"""Elements that are transformed at a time, and the longest block."""


def plain_butterflies(blocks):
    """Transform ``blocks [any, n, any]`` in place (plain form, for runs without the compiler)."""
    half = 1
    while half < blocks.shape[1]:
        for first in range(0, blocks.shape[1], 2 * half):
            upper, lower = blocks[:, first : first + half], blocks[:, first + half : first + 2 * half]
            upper[:], lower[:] = upper + lower, upper - lower
        half *= 2


def emit_signed(builder: ir.IRBuilder, value: ir.Value, masks: ir.Value, wanted: ir.Value) -> ir.Value:
    """Return ``value`` negated where ``masks`` is -1 (else 0); as it is where nothing is ``wanted``."""
    slot = cgutils.alloca_once(builder, value.type)
    builder.store(value, slot)
    with builder.if_then(wanted):
        builder.store(builder.sub(builder.xor(value, masks), masks), slot)
    return builder.load(slot)


def _emit_butterflies(builder: ir.IRBuilder, value: ir.Value, size: ir.Value) -> ir.Value:
    """Blocks of ``size``, at most :data:`RUN`: in stage ``h`` element ``j`` meets ``j ^ h``."""
    slot = cgutils.alloca_once(builder, value.type)
    builder.store(value, slot)
    for stage in range(RUN.bit_length() - 1):
        half = 1 << stage
        with builder.if_then(builder.icmp_signed(">", size, SIZE(half))):
            values = builder.load(slot)
            partner = shuffled(builder, values, values, [j ^ half for j in range(RUN)])
            lower = ir.Constant(ir.VectorType(ir.IntType(1), RUN), [bool(j & half) for j in range(RUN)])
            mirrored = builder.select(lower, builder.neg(values), values)
            builder.store(builder.add(partner, mirrored), slot)
    return builder.load(slot)


def _emit_wide_butterflies(builder: ir.IRBuilder, value: ir.Value, size: ir.Value) -> ir.Value:
    """The same for 32-bit lanes, with element ``4 i + k`` of the result at ``16 k + i``.

    Four registers, 16 elements each, meet each other as they are; exchanging registers with blocks of four
    lanes, then with lanes of such a block, brings the other elements into place.
    """
    pairs = [8 * j + lane for j in (0, 2) for lane in range(8)]
    blocks = [lane for lane in range(32) if not lane & 4]
    value = _emit_register_stages(builder, value, size, 16)
    value = _exchanged(builder, value, (pairs, 8), (blocks, 4))
    value = _emit_register_stages(builder, value, size, 4)
    singles = [16 * j + 4 * i + k for i in range(4) for k in range(2) for j in range(2)]
    pairs = [16 * j + 4 * i + k for i in range(4) for j in range(2) for k in range(2)]
    value = _exchanged(builder, value, (singles, 2), (pairs, 2))
    return _emit_register_stages(builder, value, size, 1)


def _emit_register_stages(builder: ir.IRBuilder, value: ir.Value, size: ir.Value, half: int) -> ir.Value:
    """Two stages: registers whose elements are ``half`` apart, then ``2 * half``."""
    slot = cgutils.alloca_once(builder, value.type)
    builder.store(value, slot)
    for apart in (1, 2):
        with builder.if_then(builder.icmp_signed(">", size, SIZE(apart * half))):
            parts = cut(builder, builder.load(slot), RUN // 4)
            for i in range(4):
                if not i & apart:
                    upper, lower = parts[i], parts[i + apart]
                    parts[i], parts[i + apart] = builder.add(upper, lower), builder.sub(upper, lower)
            builder.store(joined(builder, parts), slot)
    return builder.load(slot)


def _exchanged(
    builder: ir.IRBuilder, value: ir.Value, near: tuple[list[int], int], far: tuple[list[int], int]
) -> ir.Value:
    """Exchange the number of a register with two bits of its lanes: registers 0 and 1, 2 and 3, then those.

    ``near`` and ``far`` are the lanes that the first register of a pair takes of both, and how far from them
    those of the second one are.
    """
    parts = cut(builder, value, RUN // 4)
    for (order, apart), (a, b, c, d) in ((near, (0, 1, 2, 3)), (far, (0, 2, 1, 3))):
        parts = [
            shuffled(builder, parts[i], parts[j], [lane + more for lane in order])
            for i, j in ((a, b), (c, d))
            for more in (0, apart)
        ]
    return joined(builder, parts)


def _emit_codes(builder: ir.IRBuilder, codes: ir.Value, bits: int) -> ir.Value:
    """Return codes of ``bits`` in the order of elements; see :func:`_emit_wide_butterflies`."""
    if bits != 8:
        order = [16 * (element % 4) + element // 4 for element in range(RUN)]
        return resized(builder, shuffled(builder, codes, codes, order), ir.IntType(bits), True)
    parts = cut(builder, codes, RUN // 4)
    kind = parts[0].type
    packed = filled(kind, 0)
    for k, part in enumerate(parts):
        byte = builder.and_(part, filled(kind, 255))
        packed = builder.or_(packed, builder.shl(byte, filled(kind, 8 * k)))
    return builder.bitcast(packed, ir.VectorType(BYTE, RUN))


def _emit_runs(
    builder: ir.IRBuilder,
    length: ir.Value,
    source: tuple[ir.Value, int],
    target: tuple[ir.Value, int],
    step: Callable[[ir.Value, ir.Value, ir.Value], None],
) -> None:
    """Call ``step(from, to, first)`` for every :data:`RUN` elements of a row.

    ``source`` and ``target`` are the addresses of its first elements and their bits. Elements that fill up
    the last run are 0.
    """
    (source, source_bits), (target, target_bits) = source, target
    buffers = [stack_bytes(builder, 8 * RUN) for _ in range(2)]
    count = builder.ashr(builder.add(length, SIZE(RUN - 1)), SIZE(RUN.bit_length() - 1))
    with cgutils.for_range(builder, count) as loop:
        first = builder.mul(loop.index, SIZE(RUN))
        left = builder.sub(length, first)
        whole = builder.icmp_signed(">=", left, SIZE(RUN))
        begin, end = (
            address(builder, source, first, source_bits),
            address(builder, target, first, target_bits),
        )
        with builder.if_then(builder.not_(whole), likely=False):
            cgutils.memset(builder, buffers[0], SIZE(8 * RUN), 0)
            cgutils.raw_memcpy(builder, buffers[0], begin, left, source_bits // 8)
        step(builder.select(whole, begin, buffers[0]), builder.select(whole, end, buffers[1]), first)
        with builder.if_then(builder.not_(whole), likely=False):
            cgutils.raw_memcpy(builder, end, buffers[1], left, target_bits // 8)


@helper
def row_masks(signs):
    """Return -1 for every negative sign of a run of blocks, else 0; and how many there are."""
    masks, count = np.zeros(RUN, np.int16), np.int64(0)
    for i in range(RUN):
        if signs[i % signs.shape[0]] < 0:
            masks[i] = -1
            count += 1
    return masks, count


def _plain_quantize(x, begin, end, size, masks, negative, factor, codes):
    if end <= begin:
        return 0
    values = x.reshape(-1)[begin:end].astype(np.int64)
    values *= 1 + 2 * np.resize(masks, len(values)).astype(np.int64)
    plain_butterflies(values.reshape(-1, size, 1))
    codes.reshape(-1)[begin:end], saturated = plain_requantize(values, factor)
    return saturated


@lane_intrinsic(_plain_quantize)
def _quantize_run(typing_context, x, begin, end, size, masks, negative, factor, codes):
    """Transform and quantize the elements from ``begin`` to ``end``; return how many codes saturated."""
    x_bits, code_bits = x.dtype.bitwidth, codes.dtype.bitwidth
    signature = types.int64(x, begin, end, size, masks, negative, factor, codes)

    def generate(context, builder, signature, values):
        _, begin, end, size, _, negative, factor, _ = values
        x, masks, codes = (data_of(context, builder, signature.args[i], values[i]) for i in (0, 4, 7))
        kind = ir.VectorType(LANE, RUN)
        masks = builder.sext(load_lanes(builder, masks, ir.VectorType(WORD, RUN)), kind)
        wanted = builder.icmp_signed("!=", negative, SIZE(0))
        requantizer = Requantizer(builder, factor, RUN)
        total = cgutils.alloca_once_value(builder, SIZE(0))
        builder.store(SIZE(0), total)

        def step(source, target, first):
            stored = load_lanes(builder, source, ir.VectorType(ir.IntType(x_bits), RUN))
            value = resized(builder, stored, LANE, signature.args[0].dtype.signed)
            value = _emit_wide_butterflies(builder, emit_signed(builder, value, masks, wanted), size)
            code, saturated = requantizer.emit(value)
            store_lanes(builder, _emit_codes(builder, code, code_bits), target)
            builder.store(builder.add(builder.load(total), count_lanes(builder, saturated)), total)

        source = address(builder, x, begin, x_bits), x_bits
        target = address(builder, codes, begin, code_bits), code_bits
        _emit_runs(builder, builder.sub(end, begin), source, target, step)
        return builder.load(total)

    return signature, generate


@helper
def _quantize_rows(worker, threads, x, signs, factor, low, high, codes):
    begin, end = part_of(worker, threads, (x.size + RUN - 1) // RUN)
    masks, negative = row_masks(signs)
    numbers = factor_of(factor, low, high)
    return _quantize_run(
        x, begin * RUN, min(end * RUN, x.size), signs.shape[0], masks, negative, numbers, codes
    )


@kernel
def quantize_rows(x, signs, factor, low, high, threads, codes):
    """``quantize_transformed`` for ``inner`` 1."""
    return share(_quantize_rows, threads, (x, signs, factor, low, high, codes))


def _plain_invert(codes, begin, end, size, zero, masks, negative, places, scratch, operand):
    length = codes.shape[1]
    for row in range(begin, end):
        values = codes[row, :, 0].astype(np.int64) - zero
        plain_butterflies(values.reshape(-1, size, 1))
        operand[row, :length, 0] = (values * (1 + 2 * np.resize(masks, length).astype(np.int64))) >> places
        operand[row, length:, 0] = np.tile(values[::size] & 1, 2)[: operand.shape[1] - length]
    return 0


@lane_intrinsic(_plain_invert)
def _invert_run(typing_context, codes, begin, end, size, zero, masks, negative, places, scratch, operand):
    """Invert the rows from ``begin`` to ``end``; parity bits go where the operand is longer than codes."""
    code_bits, bits = codes.dtype.bitwidth, operand.dtype.bitwidth
    element = ir.IntType(scratch.dtype.bitwidth)
    signature = types.int64(codes, begin, end, size, zero, masks, negative, places, scratch, operand)

    def generate(context, builder, signature, values):
        _, begin, end, size, zero, _, negative, places, _, _ = values
        codes, masks, operand = (data_of(context, builder, signature.args[i], values[i]) for i in (0, 5, 9))
        length, pitch = (
            builder.extract_value(context.make_array(signature.args[i])(context, builder, values[i]).shape, 1)
            for i in (0, 9)
        )
        kind, stored = ir.VectorType(element, RUN), ir.VectorType(ir.IntType(code_bits), RUN)
        masks = resized(builder, load_lanes(builder, masks, ir.VectorType(WORD, RUN)), element, True)
        wanted = builder.icmp_signed("!=", negative, SIZE(0))
        zero, places = (splat(builder, builder.trunc(number, element), kind) for number in (zero, places))
        blocks = builder.ashr(builder.sub(pitch, length), SIZE(1))
        halved = builder.icmp_signed(">", blocks, SIZE(0))

        def row(index):
            goal = address(builder, operand, builder.mul(index, pitch), bits)
            source = address(builder, codes, builder.mul(index, length), code_bits)

            def step(begin, end, first):
                value = resized(
                    builder, load_lanes(builder, begin, stored), element, signature.args[0].dtype.signed
                )
                value = _emit_butterflies(builder, builder.sub(value, zero), size)
                with builder.if_then(halved):
                    odd = builder.bitcast(
                        builder.trunc(value, ir.VectorType(ir.IntType(1), RUN)), ir.IntType(RUN)
                    )
                    _emit_bits(builder, odd, first, size, (length, blocks), goal, bits)
                value = builder.ashr(emit_signed(builder, value, masks, wanted), places)
                store_lanes(builder, resized(builder, value, ir.IntType(bits), True), end)

            _emit_runs(builder, length, (source, code_bits), (goal, bits), step)

        with cgutils.for_range(builder, end, start=begin) as rows:
            row(rows.index)
        return SIZE(0)

    return signature, generate


def _emit_bits(builder, odd, first, size, tail, goal, bits):
    """Store the bits of a run's blocks, of ``odd`` one in ``size``, twice behind the ``length`` of a row."""
    length, blocks = tail
    left = builder.sub(length, first)
    last = builder.select(builder.icmp_signed("<", left, SIZE(RUN)), left, SIZE(RUN))
    slot = cgutils.alloca_once(builder, SIZE)
    builder.store(builder.add(length, builder.sdiv(first, size)), slot)
    with cgutils.for_range_slice(builder, SIZE(0), last, size, inc=True) as (element, _):
        bit = builder.trunc(builder.and_(builder.lshr(odd, element), SIZE(1)), ir.IntType(bits))
        place = builder.load(slot)
        for offset in (place, builder.add(place, blocks)):
            store_lanes(builder, bit, address(builder, goal, offset, bits))
        builder.store(builder.add(place, SIZE(1)), slot)


@helper
def _invert_rows(worker, threads, codes, signs, zero, halve, scratch, operand):
    begin, end = part_of(worker, threads, codes.shape[0])
    masks, negative = row_masks(signs)
    places = 1 if halve else 0
    _invert_run(codes, begin, end, signs.shape[0], zero, masks, negative, places, scratch, operand)


@kernel
def invert_rows(codes, signs, zero, halve, scratch, threads, operand):
    """``invert_transform`` for ``inner`` 1; ``scratch`` has the type of values on the way."""
    share(_invert_rows, threads, (codes, signs, zero, halve, scratch, operand))
