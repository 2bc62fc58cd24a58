"""The micro-kernel of every matrix product: a tile of up to 12 rows x 32 columns, summed in registers.

``add_tile`` is LLVM code, because no loop that numba can express becomes the instructions that the tile
needs. Three forms give the same sums modulo 2**32:

* ``EIGHT``: unsigned 8-bit rows times signed 8-bit columns, four products a lane (AVX-512 VNNI ``vpdpbusd``);
* ``SIXTEEN``: signed 16-bit, two products a lane (AVX-512 VNNI ``vpdpwssd``);
* ``PORTABLE``: the same 16-bit data on any CPU: ``pmaddwd`` with AVX2, else plain vector operations.

Rows lie ``ROW_BYTES`` apart; a column panel holds, step by step, 32 lanes of 4 bytes: one lane is four 8-bit
or two 16-bit weights that follow each other along the reduction.
"""

from __future__ import annotations

import os

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hqsim.kernels.jit import helper

ROWS, COLUMNS = 12, 32
"""Size of a tile; where fewer rows are left, it has fewer."""
CHUNK_BYTES = 1024
"""Largest piece of a row that one call sums; so a panel and the rows stay in the first cache."""
ROW_BYTES = CHUNK_BYTES + 64
"""Distance of two rows: 64 bytes more, so that they do not fall into the same cache sets."""
STEP_BYTES = 4 * COLUMNS
"""One step of a panel: 4 bytes per column."""

EIGHT, SIXTEEN, PORTABLE = 0, 1, 2
"""Forms of the tile."""


def _target_has(feature: str) -> bool:
    """Whether numba compiles for a CPU with ``feature``: this one, or what NUMBA_CPU_FEATURES says."""
    if numba.config.CPU_NAME:
        return f"+{feature}" in (numba.config.CPU_FEATURES or "").split(",")
    return bool(llvmlite.binding.get_host_cpu_features().get(feature))


HAS_VNNI = _target_has("avx512vnni")
"""Whether the CPU has AVX-512 VNNI."""


def fastest_form(*, eight_bits: bool) -> int:
    """Return the form to use here: ``HQSIM_KERNELS=portable`` asks for the one that every CPU has."""
    if not HAS_VNNI or os.environ.get("HQSIM_KERNELS") == "portable":
        return PORTABLE
    return EIGHT if eight_bits else SIXTEEN


_BYTE, _WORD, _LANE, _SIZE = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)


class _VnniStep:
    """16 lanes: one VNNI instruction; ``rows`` in registers, ``sizes`` of tiles."""

    lanes = 16
    rows = ROWS
    sizes = (4, 8, ROWS)

    def __init__(self, name: str) -> None:
        self.name = name

    def emit(self, builder: ir.IRBuilder, total: ir.Value, row: ir.Value, column: ir.Value) -> ir.Value:
        vector = ir.VectorType(_LANE, self.lanes)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.x86.avx512.{self.name}.512"
        )
        return builder.call(function, [total, row, column])


class _Avx2Step:
    """8 lanes: the products of two neighbouring 16-bit elements, added (``pmaddwd``)."""

    lanes = 8
    rows = 6
    sizes = (6, ROWS)

    def emit(self, builder: ir.IRBuilder, total: ir.Value, row: ir.Value, column: ir.Value) -> ir.Value:
        words, wide = ir.VectorType(_WORD, 2 * self.lanes), ir.VectorType(_LANE, self.lanes)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(wide, [words, words]), "llvm.x86.avx2.pmadd.wd"
        )
        pair = [builder.bitcast(side, words) for side in (row, column)]
        return builder.add(total, builder.call(function, pair))


class _PlainStep:
    """8 lanes: the same in plain vector operations, for any CPU."""

    lanes = 8
    rows = 6
    sizes = (6, ROWS)

    def emit(self, builder: ir.IRBuilder, total: ir.Value, row: ir.Value, column: ir.Value) -> ir.Value:
        sixteen = ir.Constant(ir.VectorType(_LANE, self.lanes), [16] * self.lanes)
        high = builder.mul(builder.ashr(row, sixteen), builder.ashr(column, sixteen))
        low = builder.mul(
            builder.ashr(builder.shl(row, sixteen), sixteen),
            builder.ashr(builder.shl(column, sixteen), sixteen),
        )
        return builder.add(total, builder.add(low, high))


def _emit_tiles(builder: ir.IRBuilder, step, sizes, count, *operands) -> None:
    """Emit every size of a tile; the smallest that holds ``count`` rows runs."""
    smallest, *larger = sizes
    if not larger:
        _emit_tile(builder, step, smallest, *operands)
        return
    with builder.if_else(builder.icmp_signed("<=", count, _SIZE(smallest))) as (enough, too_few):
        with enough:
            _emit_tile(builder, step, smallest, *operands)
        with too_few:
            _emit_tiles(builder, step, larger, count, *operands)


def _emit_tile(builder: ir.IRBuilder, step, size, rows, panel, steps, start, sums) -> None:
    """Write ``start`` plus products of ``steps`` steps to int32 ``sums``: pairs of address and row pitch."""
    for first_row in range(0, size, step.rows):
        for first_column in range(0, COLUMNS, 2 * step.lanes):
            place = first_row, min(step.rows, size - first_row), first_column
            _emit_block(builder, step, rows, panel, steps, start, sums, *place)


def _emit_block(builder, step, rows, panel, steps, start, sums, first_row, count, first_column) -> None:
    """One loop over ``steps``: ``count`` rows x two vectors of columns stay in registers."""
    vector = ir.VectorType(_LANE, step.lanes)
    vectors = 2
    before = builder.block
    loop, after = builder.append_basic_block("tile.loop"), builder.append_basic_block("tile.done")
    builder.branch(loop)
    builder.position_at_end(loop)
    index = builder.phi(_SIZE)
    index.add_incoming(_SIZE(0), before)
    totals = []
    for _ in range(count * vectors):
        total = builder.phi(vector)
        total.add_incoming(ir.Constant(vector, [0] * step.lanes), before)
        totals.append(total)
    row_step = builder.gep(rows, [builder.mul(index, _SIZE(4))])
    panel_step = builder.gep(panel, [builder.mul(index, _SIZE(STEP_BYTES))])
    columns = []
    for position in range(vectors):
        offset = _SIZE(4 * (first_column + position * step.lanes))
        columns.append(_load(builder, builder.gep(panel_step, [offset]), vector, 4))
    undefined = ir.Constant(vector, ir.Undefined)
    everywhere = ir.Constant(ir.VectorType(_LANE, step.lanes), [0] * step.lanes)
    results = []
    for row in range(count):
        address = builder.gep(row_step, [_SIZE((first_row + row) * ROW_BYTES)])
        lane = builder.insert_element(undefined, _load(builder, address, _LANE, 1), _LANE(0))
        broadcast = builder.shuffle_vector(lane, undefined, everywhere)
        for position in range(vectors):
            results.append(step.emit(builder, totals[row * vectors + position], broadcast, columns[position]))
    for total, result in zip(totals, results, strict=True):
        total.add_incoming(result, loop)
    following = builder.add(index, _SIZE(1))
    index.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, steps), loop, after)
    builder.position_at_end(after)
    for row in range(count):
        for position in range(vectors):
            source, target = (
                builder.gep(address, [builder.add(builder.mul(pitch, _SIZE(first_row + row)), offset)])
                for (address, pitch), offset in (
                    (place, _SIZE(4 * (first_column + position * step.lanes))) for place in (start, sums)
                )
            )
            total = builder.add(_load(builder, source, vector, 4), results[row * vectors + position])
            builder.store(total, builder.bitcast(target, vector.as_pointer())).align = 4


def _load(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type, align: int) -> ir.Value:
    value = builder.load(builder.bitcast(address, kind.as_pointer()))
    value.align = align
    return value


def _tile_intrinsic(step):
    @intrinsic
    def tile(typing_context, rows, row, count, panel, first, steps, fresh, start, sums, column):
        signature = types.void(
            rows,
            types.intp,
            types.intp,
            panel,
            types.intp,
            types.intp,
            types.boolean,
            start,
            sums,
            types.intp,
        )

        def generate(context, builder, signature, arguments):
            if step is None:
                return context.get_dummy_value()
            arrays = [
                context.make_array(signature.args[position])(context, builder, arguments[position])
                for position in (0, 3, 7, 8)
            ]
            rows, panel, start, sums = (builder.bitcast(array.data, _BYTE.as_pointer()) for array in arrays)
            _, row, count, _, first, steps, fresh, _, _, column = arguments
            fresh = builder.trunc(fresh, ir.IntType(1))
            pitch = builder.extract_value(arrays[3].strides, 0)
            columns = builder.mul(column, _SIZE(4))
            target = builder.gep(sums, [builder.add(builder.mul(row, pitch), columns)])
            # The same start for every row, or what the sums are already.
            source = builder.select(fresh, builder.gep(start, [columns]), target)
            _emit_tiles(
                builder,
                step,
                step.sizes,
                count,
                builder.gep(rows, [builder.mul(row, _SIZE(ROW_BYTES))]),
                builder.gep(panel, [first]),
                steps,
                (source, builder.select(fresh, _SIZE(0), pitch)),
                (target, pitch),
            )
            return context.get_dummy_value()

        return signature, generate

    return tile


if numba.config.DISABLE_JIT:

    def add_tile(form, rows, row, count, panel, first, steps, fresh, start, sums, column):
        """Add a tile to ``sums`` (plain form, for runs without the compiler)."""
        kinds = (np.uint8, np.int8) if form == EIGHT else (np.int16, np.int16)
        a = rows[row : row + ROWS, : 4 * steps].copy().view(kinds[0]).astype(np.int64)
        lanes = panel[first : first + STEP_BYTES * steps].view(kinds[1]).astype(np.int64)
        b = lanes.reshape(steps, COLUMNS, -1).transpose(0, 2, 1).reshape(-1, COLUMNS)
        columns = slice(column, column + COLUMNS)
        if fresh:
            sums[row : row + ROWS, columns] = start[columns]
        sums[row : row + ROWS, columns] += (a @ b).astype(np.int32)

else:
    # A CPU without VNNI cannot compile its instructions; there these forms are empty and never chosen.
    _tile_eight = _tile_intrinsic(_VnniStep("vpdpbusd") if HAS_VNNI else None)
    _tile_sixteen = _tile_intrinsic(_VnniStep("vpdpwssd") if HAS_VNNI else None)
    _tile_portable = _tile_intrinsic(_Avx2Step() if _target_has("avx2") else _PlainStep())

    @helper
    def add_tile(form, rows, row, count, panel, first, steps, fresh, start, sums, column):
        """Add ``steps`` steps of ``count`` rows, 12 at most, times a panel to ``sums[row:, column:]``.

        ``rows`` is uint8 ``[any, ROW_BYTES]``, ``panel`` uint8 bytes from ``first`` on, ``sums`` int32; all
        twelve rows and 32 columns must exist, and those beyond ``count`` may change; ``form`` as above. With
        ``fresh`` every row of sums begins as ``start`` int32, from ``column`` on, whatever it was.
        """
        if form == EIGHT:
            _tile_eight(rows, row, count, panel, first, steps, fresh, start, sums, column)
        elif form == SIXTEEN:
            _tile_sixteen(rows, row, count, panel, first, steps, fresh, start, sums, column)
        else:
            _tile_portable(rows, row, count, panel, first, steps, fresh, start, sums, column)
