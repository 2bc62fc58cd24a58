"""Butterflies along the width: neighbouring lanes, two registers wide, for all elements of a block at a time.

A block of at most 64 elements with its lanes takes 8 KB of the stack. It is filled from codes, transformed
in place up to three stages at a time, and stored as codes again. Lanes that are left of a row are copied
to a buffer and back, which keeps one copy of the code for all widths.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.lanes import (
    LANE,
    SIZE,
    address,
    count_lanes,
    data_of,
    filled,
    lane_intrinsic,
    load_lanes,
    resized,
    splat,
    stack_bytes,
    store_lanes,
)
from hqsim.kernels.requantize import Requantizer, factor_of, plain_requantize
from hqsim.kernels.threads import part_of, share
from hqsim.kernels.transform_rows import RUN, emit_signed, plain_butterflies

LANE_BYTES = 128
"""Bytes of the lanes of an element: two registers of AVX-512."""
_STAGES = 3
"""Stages at a time: eight elements of a block, two registers each, are in registers."""


class _Unit(NamedTuple):
    """Lanes of one block: its first element in the array, how many lanes there are, whether they are all."""

    block: ir.Value
    lane: ir.Value
    lanes: ir.Value
    whole: ir.Value


class _Lanes:
    """LLVM code that walks blocks of ``order`` stages in ``[outer, length, inner]``."""

    def __init__(self, builder: ir.IRBuilder, element: ir.IntType, order: ir.Value, inner: ir.Value) -> None:
        self.builder, self.order, self.inner = builder, order, inner
        self.kind = ir.VectorType(element, 8 * LANE_BYTES // element.width)
        self.size = builder.shl(SIZE(1), order)
        self._block = stack_bytes(builder, RUN * LANE_BYTES)
        self._buffer = stack_bytes(builder, 8 * LANE_BYTES)

    @contextmanager
    def unit(self, index: ir.Value) -> Iterator[_Unit]:
        """A unit by its number: lanes of a block first, then the next block."""
        builder, count = self.builder, SIZE(self.kind.count)
        groups = builder.sdiv(builder.add(self.inner, builder.sub(count, SIZE(1))), count)
        block = builder.sdiv(index, groups)
        lane = builder.mul(builder.sub(index, builder.mul(block, groups)), count)
        left = builder.sub(self.inner, lane)
        whole = builder.icmp_signed(">=", left, count)
        yield _Unit(block, lane, builder.select(whole, count, left), whole)

    @contextmanager
    def elements(self) -> Iterator[ir.Value]:
        """Every element of a block."""
        with cgutils.for_range(self.builder, self.size) as loop:
            yield loop.index

    def load(self, unit: _Unit, element: ir.Value, array: ir.Value, dtype: types.Integer) -> ir.Value:
        """Return lanes of an array, extended; 0 where the row has no more."""
        builder, bits = self.builder, dtype.bitwidth
        place = address(builder, array, self._place(unit, element), bits)
        with builder.if_then(builder.not_(unit.whole), likely=False):
            cgutils.memset(builder, self._buffer, SIZE(8 * LANE_BYTES), 0)
            cgutils.raw_memcpy(builder, self._buffer, place, unit.lanes, bits // 8)
        place = builder.select(unit.whole, place, self._buffer)
        stored = ir.VectorType(ir.IntType(bits), self.kind.count)
        return resized(builder, load_lanes(builder, place, stored), self.kind.element, dtype.signed)

    def store(self, unit: _Unit, element: ir.Value, value: ir.Value, array: ir.Value, bits: int) -> None:
        """Store lanes to an array of ``bits``, as many as the row has."""
        self._store(unit, value, address(self.builder, array, self._place(unit, element), bits), bits)

    def store_odd(self, unit: _Unit, parity: ir.Value) -> None:
        """Store the lowest bits of element 0 to bytes ``[outer, blocks, inner]``."""
        builder = self.builder
        value = builder.and_(self.value(SIZE(0)), filled(self.kind, 1))
        place = builder.add(builder.mul(unit.block, self.inner), unit.lane)
        self._store(unit, value, address(builder, parity, place, 8), 8)

    def value(self, element: ir.Value) -> ir.Value:
        """Return an element of the block on its way."""
        return load_lanes(self.builder, self._at(element), self.kind, 64)

    def put(self, element: ir.Value, value: ir.Value) -> None:
        """Set an element of the block on its way."""
        store_lanes(self.builder, value, self._at(element), 64)

    def transform(self) -> None:
        """Transform the block in place."""
        builder = self.builder
        done = cgutils.alloca_once(builder, SIZE)
        builder.store(SIZE(0), done)
        for stages in (_STAGES, _STAGES, 2, 1):
            known = builder.load(done)
            left = builder.sub(self.order, known)
            with builder.if_then(builder.icmp_signed(">=", left, SIZE(stages))):
                self._stages(known, stages)
                builder.store(builder.add(known, SIZE(stages)), done)

    def _stages(self, known: ir.Value, stages: int) -> None:
        """``stages`` from number ``known`` on: elements ``2**known`` apart meet each other."""
        builder, count = self.builder, 1 << stages
        half = builder.shl(SIZE(1), known)
        with cgutils.for_range(builder, builder.ashr(self.size, SIZE(stages))) as loop:
            inside = builder.and_(loop.index, builder.sub(half, SIZE(1)))
            outside = builder.shl(builder.sub(loop.index, inside), SIZE(stages))
            first = builder.add(outside, inside)
            places = [builder.add(first, builder.mul(half, SIZE(i))) for i in range(count)]
            values = [self.value(place) for place in places]
            for stage in range(stages):
                for i in range(count):
                    if not i >> stage & 1:
                        upper, lower = values[i], values[i | 1 << stage]
                        values[i] = builder.add(upper, lower)
                        values[i | 1 << stage] = builder.sub(upper, lower)
            for place, value in zip(places, values, strict=True):
                self.put(place, value)

    def _at(self, element: ir.Value) -> ir.Value:
        return address(self.builder, self._block, element, 8 * LANE_BYTES)

    def _place(self, unit: _Unit, element: ir.Value) -> ir.Value:
        builder = self.builder
        row = builder.add(builder.mul(unit.block, self.size), element)
        return builder.add(builder.mul(row, self.inner), unit.lane)

    def _store(self, unit: _Unit, value: ir.Value, place: ir.Value, bits: int) -> None:
        builder, value = self.builder, resized(self.builder, value, ir.IntType(bits), True)
        store_lanes(builder, value, builder.select(unit.whole, place, self._buffer))
        with builder.if_then(builder.not_(unit.whole), likely=False):
            cgutils.raw_memcpy(builder, place, self._buffer, unit.lanes, bits // 8)


def _emit_sign(
    lanes: _Lanes, signs: ir.Value, dtype: types.Integer, element: ir.Value, value: ir.Value
) -> ir.Value:
    """Return ``value`` times the sign of an element."""
    builder, kind = lanes.builder, ir.IntType(dtype.bitwidth)
    place = address(builder, signs, element, dtype.bitwidth)
    negative = builder.icmp_signed("<", builder.load(builder.bitcast(place, kind.as_pointer())), kind(0))
    return emit_signed(builder, value, filled(lanes.kind, -1), negative)


@helper
def _groups(inner, itemsize):
    """Return how many times the lanes of an element are taken."""
    count = LANE_BYTES // itemsize
    return (inner + count - 1) // count


@helper
def _order(size):
    order = np.int64(0)
    while 1 << order < size:
        order += 1
    return order


def _plain_units(array, begin, end, size, itemsize):
    """Yield what units are: row, elements of a block, lanes; and the number of the block in its row."""
    count, (_, length, inner) = LANE_BYTES // itemsize, array.shape
    for unit in range(begin, end):
        block, lane = divmod(unit, _groups(inner, itemsize))
        row, block = divmod(block, length // size)
        where = slice(lane * count, (lane + 1) * count)
        yield (row, slice(block * size, (block + 1) * size), where), block


def _plain_quantize(x, begin, end, order, signs, factor, codes):
    saturated = 0
    for where, _ in _plain_units(x, begin, end, len(signs), 4):
        values = x[where].astype(np.int64) * signs[:, None]
        plain_butterflies(values[None])
        codes[where], count = plain_requantize(values, factor)
        saturated += count
    return saturated


@lane_intrinsic(_plain_quantize)
def _quantize_units(typing_context, x, begin, end, order, signs, factor, codes):
    """Transform and quantize the units from ``begin`` to ``end``; return how many codes saturated."""
    signature = types.int64(x, begin, end, order, signs, factor, codes)

    def generate(context, builder, signature, values):
        _, begin, end, order, _, factor, _ = values
        kinds = signature.args
        x, signs, codes = (data_of(context, builder, kinds[i], values[i]) for i in (0, 4, 6))
        lanes = _Lanes(builder, LANE, order, _inner(context, builder, kinds[0], values[0]))
        requantizer = Requantizer(builder, factor, lanes.kind.count)
        total = cgutils.alloca_once(builder, SIZE)
        builder.store(SIZE(0), total)
        with cgutils.for_range(builder, end, start=begin) as loop, lanes.unit(loop.index) as unit:
            with lanes.elements() as element:
                value = lanes.load(unit, element, x, kinds[0].dtype)
                lanes.put(element, _emit_sign(lanes, signs, kinds[4].dtype, element, value))
            lanes.transform()
            with lanes.elements() as element:
                code, saturated = requantizer.emit(lanes.value(element))
                lanes.store(unit, element, code, codes, kinds[6].dtype.bitwidth)
                builder.store(builder.add(builder.load(total), count_lanes(builder, saturated)), total)
        return builder.load(total)

    return signature, generate


def _inner(context: Any, builder: ir.IRBuilder, kind: types.Array, value: ir.Value) -> ir.Value:
    return builder.extract_value(context.make_array(kind)(context, builder, value).shape, 2)


@helper
def _quantize_lanes(worker, threads, x, signs, factor, low, high, codes):
    outer, length, inner = x.shape
    begin, end = part_of(worker, threads, outer * (length // signs.shape[0]) * _groups(inner, 4))
    numbers = factor_of(factor, low, high)
    return _quantize_units(x, begin, end, _order(signs.shape[0]), signs, numbers, codes)


@kernel
def quantize_lanes(x, signs, factor, low, high, threads, codes):
    """``quantize_transformed`` for longer ``inner``."""
    return share(_quantize_lanes, threads, (x, signs, factor, low, high, codes))


def _plain_invert(codes, begin, end, order, zero, signs, halve, scratch, operand, parity):
    for where, block in _plain_units(codes, begin, end, len(signs), scratch.itemsize):
        values = codes[where].astype(np.int64) - zero
        plain_butterflies(values[None])
        if halve:
            parity[where[0], block, where[2]] = values[0] & 1
        operand[where] = (values * signs[:, None]) >> (1 if halve else 0)
    return 0


@lane_intrinsic(_plain_invert)
def _invert_units(typing_context, codes, begin, end, order, zero, signs, halve, scratch, operand, parity):
    """Invert the units from ``begin`` to ``end``."""
    signature = types.int64(codes, begin, end, order, zero, signs, halve, scratch, operand, parity)

    def generate(context, builder, signature, values):
        _, begin, end, order, zero, _, halve, _, _, _ = values
        kinds = signature.args
        codes, signs, operand, parity = (data_of(context, builder, kinds[i], values[i]) for i in (0, 5, 8, 9))
        element_type = ir.IntType(kinds[7].dtype.bitwidth)
        lanes = _Lanes(builder, element_type, order, _inner(context, builder, kinds[0], values[0]))
        zero = splat(builder, builder.trunc(zero, element_type), lanes.kind)
        halved = builder.icmp_signed("!=", halve, halve.type(0))
        places = splat(builder, builder.zext(halved, element_type), lanes.kind)
        with cgutils.for_range(builder, end, start=begin) as loop, lanes.unit(loop.index) as unit:
            with lanes.elements() as element:
                lanes.put(element, builder.sub(lanes.load(unit, element, codes, kinds[0].dtype), zero))
            lanes.transform()
            with builder.if_then(halved):
                lanes.store_odd(unit, parity)
            with lanes.elements() as element:
                value = _emit_sign(lanes, signs, kinds[5].dtype, element, lanes.value(element))
                value = builder.ashr(value, places)
                lanes.store(unit, element, value, operand, kinds[8].dtype.bitwidth)
        return SIZE(0)

    return signature, generate


@helper
def _invert_lanes(worker, threads, codes, signs, zero, halve, scratch, operand, parity):
    outer, length, inner = codes.shape
    begin, end = part_of(
        worker, threads, outer * (length // signs.shape[0]) * _groups(inner, scratch.itemsize)
    )
    order = _order(signs.shape[0])
    _invert_units(codes, begin, end, order, zero, signs, halve, scratch, operand, parity)


@kernel
def invert_lanes(codes, signs, zero, halve, scratch, threads, operand, parity):
    """``invert_transform`` for longer ``inner``; ``scratch`` has the type of values on the way."""
    share(_invert_lanes, threads, (codes, signs, zero, halve, scratch, operand, parity))
