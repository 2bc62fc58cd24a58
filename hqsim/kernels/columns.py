"""Loops over rows, a strip of columns at a time: what belongs to a column stays in registers.

As in ``lanes``, a loop is written once, as the LLVM code of one strip, and runs on strips of ``lanes``
columns, then column by column.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from hqsim.kernels.lanes import (
    LANE,
    SIZE,
    Step,
    address,
    data_of,
    filled,
    in_vectors,
    load_lanes,
    resized,
    splat,
)


def _called(builder: ir.IRBuilder, name: str, result: ir.IntType, *values: ir.Value) -> ir.Value:
    kind = ir.FunctionType(result, [value.type for value in values])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), values)


class Strip(Step):
    """Columns from ``index`` on, of 1-D arrays, and of a row of 2-D arrays whose rows are contiguous."""

    def __init__(
        self, builder: ir.IRBuilder, kinds: Any, values: Any, pitches: Any, index: ir.Value, lanes: int
    ):
        super().__init__(builder, kinds, values, index, lanes)
        self.pitches = pitches
        self.row: ir.Value | None = None

    def kept(self, element: ir.IntType, start: int = 0) -> ir.Value:
        """Return a register for a value from row to row, ``start`` before the first one."""
        kind = ir.VectorType(element, self.lanes)
        slot = cgutils.alloca_once(self.builder, kind)
        self.builder.store(filled(kind, start), slot)
        return slot

    def entry(self, position: int, element: ir.IntType) -> ir.Value:
        """Return the row's element of a 1-D array in every lane."""
        dtype = self.kinds[position].dtype
        place = address(self.builder, self.values[position], self.row, dtype.bitwidth)
        value = load_lanes(self.builder, place, ir.VectorType(ir.IntType(dtype.bitwidth), 1))
        value = self.builder.extract_element(resized(self.builder, value, element, dtype.signed), LANE(0))
        return splat(self.builder, value, ir.VectorType(element, self.lanes))

    def tally(self, slot: ir.Value, mask: ir.Value) -> None:
        """Add 1 to the lanes of a register that are set in a mask (where they are -1)."""
        before = self.builder.load(slot)
        self.builder.store(self.builder.sub(before, self.builder.sext(mask, before.type)), slot)

    def join(self, position: int, at: int, name: str, slot: ir.Value) -> None:
        """Join the lanes of a register by ``add``, ``smin`` or ``smax``, and the result to an int64 entry."""
        builder, vector = self.builder, self.builder.load(slot)
        reduction = f"llvm.vector.reduce.{name}.v{self.lanes}i{vector.type.element.width}"
        found = _called(builder, reduction, vector.type.element, vector)
        if found.type != SIZE:
            found = builder.sext(found, SIZE)
        place = address(builder, self.values[position], SIZE(at), SIZE.width)
        place = builder.bitcast(place, SIZE.as_pointer())
        before = builder.load(place)
        joined = (
            builder.add(before, found)
            if name == "add"
            else _called(builder, f"llvm.{name}.i64", SIZE, before, found)
        )
        builder.store(joined, place)

    def _place(self, position: int) -> ir.Value:
        base = self.values[position]
        if self.kinds[position].ndim == 2:
            assert self.row is not None, "elements of a row are known inside the loop only"
            base = self.builder.gep(base, [self.builder.mul(self.row, self.pitches[position])])
        return address(self.builder, base, self.index, self.kinds[position].dtype.bitwidth)


def column_loop(lanes: int, emit: Callable[[Strip], Any], *kinds: types.Type) -> tuple[Any, Any]:
    """Return what an intrinsic must: the signature, and the code of the loop.

    ``kinds`` are the arguments' types: arrays and integers, the first one the number of rows, the second one
    a 1-D array as long as there are columns. ``emit(strip)`` emits what comes before the rows, and returns
    two functions, which emit what is done in a row and what comes after the last one.
    """

    def generate(context, builder, signature, values):
        kinds, values, pitches = signature.args, list(values), {}
        columns = builder.extract_value(context.make_array(kinds[1])(context, builder, values[1]).shape, 0)
        for position, kind in enumerate(kinds):
            if isinstance(kind, types.Array):
                array = context.make_array(kind)(context, builder, values[position])
                pitches[position] = builder.extract_value(array.strides, 0)
                values[position] = data_of(context, builder, kind, values[position])

        def strip(index, width):
            strip = Strip(builder, kinds, values, pitches, index, width)
            row, end = emit(strip)
            with cgutils.for_range(builder, values[0]) as rows:
                strip.row = rows.index
                row()
            end()

        in_vectors(builder, columns, lanes, strip)
        return context.get_dummy_value()

    return types.void(*kinds), generate
