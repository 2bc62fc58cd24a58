"""Element-wise loops in LLVM vectors: numba's own loops become them too rarely, as its arrays might overlap.

A loop is written once, as the LLVM code of one step on a :class:`Step`, and runs in vectors of ``lanes``
elements, then one by one. Its plain form is a line of numpy, for runs without the compiler. Codes have any
integer type; arithmetic is in the type that a step asks for, and a product of two 32-bit values in 64 bits is
one instruction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

BYTE, WORD, LANE, SIZE = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)


def filled(kind: ir.VectorType, value: int) -> ir.Constant:
    """Return a vector constant."""
    return ir.Constant(kind, [value] * kind.count)


def splat(builder: ir.IRBuilder, value: ir.Value, kind: ir.VectorType) -> ir.Value:
    """Return a vector of ``kind`` with ``value`` in every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, LANE(0))
    return builder.shuffle_vector(first, undefined, filled(ir.VectorType(LANE, kind.count), 0))


def count_lanes(builder: ir.IRBuilder, mask: ir.Value) -> ir.Value:
    """Return how many lanes of a mask are set, i64."""
    bits = ir.IntType(mask.type.count)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(bits, [bits]), f"llvm.ctpop.i{bits.width}"
    )
    return builder.zext(builder.call(function, [builder.bitcast(mask, bits)]), SIZE)


def resized(builder: ir.IRBuilder, value: ir.Value, element: ir.IntType, signed: bool) -> ir.Value:
    """Return the lanes of a vector extended, by their sign or by zeros, or cut to ``element``."""
    kind = ir.VectorType(element, value.type.count)
    if value.type.element.width > element.width:
        return builder.trunc(value, kind)
    if value.type.element.width < element.width:
        return (builder.sext if signed else builder.zext)(value, kind)
    return value


def data_of(context: Any, builder: ir.IRBuilder, kind: types.Array, value: ir.Value) -> ir.Value:
    """Return the address of an array's first byte."""
    return builder.bitcast(context.make_array(kind)(context, builder, value).data, BYTE.as_pointer())


def address(builder: ir.IRBuilder, base: ir.Value, index: ir.Value, width: int) -> ir.Value:
    """Return the address of element ``index``, of ``width`` bits, as a pointer to bytes."""
    return builder.gep(base, [builder.mul(index, SIZE(width // 8))])


def load_lanes(builder: ir.IRBuilder, place: ir.Value, kind: ir.VectorType, align: int = 1) -> ir.Value:
    """Return a vector that lies at ``place``."""
    value = builder.load(builder.bitcast(place, kind.as_pointer()))
    value.align = align
    return value


def store_lanes(builder: ir.IRBuilder, value: ir.Value, place: ir.Value, align: int = 1) -> None:
    """Store a vector at ``place``."""
    builder.store(value, builder.bitcast(place, value.type.as_pointer())).align = align


def shuffled(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, order: list[int]) -> ir.Value:
    """Return lanes of two vectors by their number; those of ``b`` follow those of ``a``."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(LANE, len(order)), order))


def cut(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> list[ir.Value]:
    """Return a vector in parts of ``lanes``."""
    firsts = range(0, value.type.count, lanes)
    return [shuffled(builder, value, value, list(range(first, first + lanes))) for first in firsts]


def joined(builder: ir.IRBuilder, parts: list[ir.Value]) -> ir.Value:
    """Return parts, as many as a power of two, as one vector."""
    while len(parts) > 1:
        order = list(range(2 * parts[0].type.count))
        parts = [shuffled(builder, parts[i], parts[i + 1], order) for i in range(0, len(parts), 2)]
    return parts[0]


def stack_bytes(builder: ir.IRBuilder, size: int) -> ir.Value:
    """Return the address of bytes on the stack, as they are, where a vector is aligned.

    Numba's own allocation stores zeros, which LLVM then takes seconds to split.
    """
    with builder.goto_entry_block():
        slot = builder.alloca(ir.ArrayType(BYTE, size))
    slot.align = 64
    return builder.bitcast(slot, BYTE.as_pointer())


class Step:
    """One step of a loop, on ``lanes`` elements from ``index`` on; arguments by their position."""

    def __init__(self, builder: ir.IRBuilder, kinds: Any, values: Any, index: ir.Value, lanes: int) -> None:
        self.builder, self.kinds, self.values, self.index, self.lanes = builder, kinds, values, index, lanes

    def load(self, position: int, element: ir.IntType) -> ir.Value:
        """Return the elements of an array, extended (or cut) to ``element``."""
        dtype = self.kinds[position].dtype
        stored = ir.VectorType(ir.IntType(dtype.bitwidth), self.lanes)
        value = load_lanes(self.builder, self._place(position), stored)
        return resized(self.builder, value, element, dtype.signed)

    def entries(self, position: int, index: ir.Value) -> ir.Value:
        """Return the entries of an int32 table at ``index``, 32 bits, never negative."""
        builder, lanes = self.builder, self.lanes
        table, kind = builder.bitcast(self.values[position], LANE.as_pointer()), ir.VectorType(LANE, lanes)
        if lanes == 1:
            return builder.load(
                builder.bitcast(
                    builder.gep(table, [builder.extract_element(index, LANE(0))]), kind.as_pointer()
                )
            )
        # llvmlite takes the address of a vector of indices for one address.
        places = builder.gep(table, [builder.sext(index, ir.VectorType(SIZE, lanes))], source_etype=LANE)
        places.type = ir.VectorType(ir.PointerType(), lanes)
        mask = filled(ir.VectorType(ir.IntType(1), lanes), 1)
        arguments = [places, LANE(4), mask, ir.Constant(kind, ir.Undefined)]
        signature = ir.FunctionType(kind, [argument.type for argument in arguments])
        name = f"llvm.masked.gather.v{lanes}i32.v{lanes}p0"
        return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)

    def scalar(self, position: int, element: ir.IntType) -> ir.Value:
        """Return an argument in every lane."""
        value = self.values[position]
        if value.type.width > element.width:
            value = self.builder.trunc(value, element)
        elif value.type.width < element.width:
            value = self.builder.sext(value, element)
        return splat(self.builder, value, ir.VectorType(element, self.lanes))

    def store(self, position: int, value: ir.Value) -> None:
        """Store to an array, cut to its type."""
        stored = ir.IntType(self.kinds[position].dtype.bitwidth)
        store_lanes(self.builder, resized(self.builder, value, stored, True), self._place(position))

    def product(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Return the 64-bit products of 32-bit values."""
        wide = ir.VectorType(SIZE, self.lanes)
        return self.builder.mul(self.builder.sext(a, wide), self.builder.sext(b, wide))

    def clamp(self, value: ir.Value, low: ir.Value, high: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return ``value`` limited to [low, high] and the mask of lanes that changed."""
        builder = self.builder
        code = builder.select(builder.icmp_signed("<", value, low), low, value)
        code = builder.select(builder.icmp_signed(">", code, high), high, code)
        return code, builder.icmp_signed("!=", code, value)

    def _place(self, position: int) -> ir.Value:
        return address(self.builder, self.values[position], self.index, self.kinds[position].dtype.bitwidth)


def in_vectors(
    builder: ir.IRBuilder, length: ir.Value, lanes: int, step: Callable[[ir.Value, int], None]
) -> None:
    """Emit ``step(index, lanes)`` for whole vectors of ``length`` lanes, ``step(index, 1)`` for the rest."""
    whole = builder.sdiv(length, SIZE(lanes))
    with cgutils.for_range(builder, whole) as vectors:
        step(builder.mul(vectors.index, SIZE(lanes)), lanes)
    rest = builder.mul(whole, SIZE(lanes))
    with cgutils.for_range_slice(builder, rest, length, SIZE(1), inc=True) as (index, _):
        step(index, 1)


def lane_loop(lanes: int, emit: Callable[[Step], Any], *kinds: types.Type) -> tuple[Any, Any]:
    """Return what an intrinsic must: the signature, and the code of a loop over ``emit``.

    ``kinds`` are the arguments' types: 1-D arrays as long as the first one, tables, and integers. The loop
    returns how many lanes were set in the masks that its steps returned (None: no mask), int64.
    """

    def generate(context, builder, signature, values):
        kinds, values = signature.args, list(values)
        length = None
        for position, kind in enumerate(kinds):
            if isinstance(kind, types.Array):
                array = context.make_array(kind)(context, builder, values[position])
                values[position] = data_of(context, builder, kind, values[position])
                if length is None:
                    length = builder.extract_value(array.shape, 0)
        total = cgutils.alloca_once_value(builder, SIZE(0))
        builder.store(SIZE(0), total)

        def step(index, width):
            mask = emit(Step(builder, kinds, values, index, width))
            if mask is not None:
                builder.store(builder.add(builder.load(total), count_lanes(builder, mask)), total)

        in_vectors(builder, length, lanes, step)
        return builder.load(total)

    return types.int64(*kinds), generate


def lane_intrinsic(plain: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make an intrinsic of a function that returns :func:`lane_loop`; ``plain`` without the compiler."""
    return lambda typed: plain if numba.config.DISABLE_JIT else intrinsic(typed)


@lane_intrinsic(lambda x, begin, count: x.reshape(-1)[begin : begin + count])
def elements(typing_context, x, begin, count):
    """Return ``count`` elements of a contiguous array, 1-D, from element ``begin`` in memory on.

    A slice counts a reference to its array, atomically: threads that slice the same array row by row wait for
    each other. This one counts nothing; it must not outlive the array.
    """
    run = types.Array(x.dtype, 1, "C")

    def generate(context, builder, signature, values):
        source, result = (
            context.make_array(x)(context, builder, values[0]),
            context.make_array(run)(context, builder),
        )
        size = SIZE(x.dtype.bitwidth // 8)
        data = builder.gep(source.data, [values[1]])
        populate_array(result, data, [values[2]], [size], size, None)
        return result._getvalue()

    return run(x, types.intp, types.intp), generate


@lane_intrinsic(lambda x: np.issubdtype(x.dtype, np.signedinteger))
def is_signed(typing_context, x):
    """Return whether the elements of an array have a sign."""
    sign = ir.Constant(ir.IntType(1), int(x.dtype.signed))
    return types.boolean(x), lambda context, builder, signature, values: sign
