"""Whole steps of a panel from activation codes, in LLVM vectors: 32 columns, four codes of each side by side.

The codes stay where they lie. Where the reduction is contiguous (keys) a column gives four of its codes at a
time; where the columns are (values) four rows of 32 codes are interleaved.
"""

from __future__ import annotations

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hqsim.kernels.lanes import LANE, SIZE, filled, splat

_BYTE = ir.IntType(8)
_LANES = ir.VectorType(LANE, 32)


def _load(builder, memory, offset, kind):
    """Load from an offset in bytes; codes lie anywhere."""
    value = builder.load(builder.bitcast(builder.gep(memory, [offset]), kind.as_pointer()))
    value.align = 1
    return value


def _store(builder, value, target, offset):
    builder.store(value, builder.bitcast(builder.gep(target, [offset]), value.type.as_pointer())).align = 1


def _cut(builder, lanes, bits, first, signed):
    """Return the ``bits`` bits from ``first`` on of every lane, extended."""
    left = builder.shl(lanes, filled(_LANES, 32 - bits - first))
    return (builder.ashr if signed else builder.lshr)(left, filled(_LANES, 32 - bits))


def _four_along(builder, memory, dtype, place, pitches):
    """Four codes that follow each other, of 32 columns: they are moved four bytes at a time."""
    size, codes = dtype.bitwidth // 8, []
    for part in range(size):
        lanes = ir.Constant(_LANES, ir.Undefined)
        for lane in range(32):
            offset = builder.add(place, builder.mul(pitches[0], SIZE(lane)))
            four = _load(builder, memory, builder.add(offset, SIZE(4 * part)), LANE)
            lanes = builder.insert_element(lanes, four, LANE(lane))
        firsts = range(0, 32, dtype.bitwidth)
        codes += [_cut(builder, lanes, dtype.bitwidth, first, dtype.signed) for first in firsts]
    return codes


def _four_across(builder, memory, dtype, place, pitches):
    """Four rows of 32 columns that lie side by side."""
    stored, extend = (
        ir.VectorType(ir.IntType(dtype.bitwidth), 32),
        builder.sext if dtype.signed else builder.zext,
    )
    offsets = [builder.add(place, builder.mul(pitches[1], SIZE(row))) for row in range(4)]
    return [extend(_load(builder, memory, offset, stored), _LANES) for offset in offsets]


def _store_step(builder, codes, flags, target, step):
    """Store four codes of 32 columns: two vectors of 16-bit pairs, or one of four bytes a lane."""
    swapped, wide = flags
    with builder.if_else(wide) as (words, narrow):
        with words:
            for half in range(2):
                low = builder.and_(codes[2 * half], filled(_LANES, 0xFFFF))
                pair = builder.or_(low, builder.shl(codes[2 * half + 1], filled(_LANES, 16)))
                _store(builder, pair, target, builder.add(builder.mul(step, SIZE(256)), SIZE(128 * half)))
        with narrow:
            lanes = builder.and_(codes[0], filled(_LANES, 0xFF))
            for code, places in zip(codes[1:], ((8, 16), (16, 8), (24, 24)), strict=True):
                place = splat(builder, builder.select(swapped, LANE(places[1]), LANE(places[0])), _LANES)
                byte = builder.and_(code, filled(_LANES, 0xFF))
                lanes = builder.or_(lanes, builder.shl(byte, place))
            _store(builder, lanes, target, builder.mul(step, SIZE(128)))


def _emit_steps(builder, four, memory, dtype, pitches, steps, flags, target):
    """Loop over whole steps; return the sums of the columns."""
    total = cgutils.alloca_once(builder, _LANES)
    builder.store(filled(_LANES, 0), total)
    size = SIZE(dtype.bitwidth // 8)
    pitches = [builder.mul(pitch, size) for pitch in pitches]
    with cgutils.for_range(builder, steps) as loop:
        place = builder.mul(builder.mul(loop.index, SIZE(4)), pitches[1])
        codes = four(builder, memory, dtype, place, pitches)
        added = builder.add(builder.add(codes[0], codes[1]), builder.add(codes[2], codes[3]))
        builder.store(builder.add(builder.load(total), added), total)
        _store_step(builder, codes, flags, target, loop.index)
    return builder.load(total)


def _steps_intrinsic(four):
    @intrinsic
    def fill(typing_context, memory, start, column, row, steps, swapped, wide, data, goal, sums):
        signature = types.void(
            memory, *[types.intp] * 4, types.boolean, types.boolean, data, types.intp, sums
        )

        def generate(context, builder, signature, arguments):
            _, start, column, row, steps, swapped, wide, _, goal, _ = arguments
            pointers = [
                builder.bitcast(
                    context.make_array(signature.args[position])(context, builder, arguments[position]).data,
                    _BYTE.as_pointer(),
                )
                for position in (0, 7, 9)
            ]
            dtype = signature.args[0].dtype
            first = builder.gep(pointers[0], [builder.mul(start, SIZE(dtype.bitwidth // 8))])
            flags = [builder.trunc(flag, ir.IntType(1)) for flag in (swapped, wide)]
            target = builder.gep(pointers[1], [goal])
            total = _emit_steps(builder, four, first, dtype, (column, row), steps, flags, target)
            _store(builder, total, pointers[2], SIZE(0))
            return context.get_dummy_value()

        return signature, generate

    return fill


if numba.config.DISABLE_JIT:

    def fill_steps(memory, start, column, row, steps, swapped, wide, data, goal, sums):
        """Fill nothing: without the compiler the caller's own loop does all."""
        return 0

else:
    from hqsim.kernels.jit import helper

    _fill_along, _fill_across = _steps_intrinsic(_four_along), _steps_intrinsic(_four_across)

    @helper
    def fill_steps(memory, start, column, row, steps, swapped, wide, data, goal, sums):
        """Fill up to ``steps`` steps of 32 columns; write their sums; return how many steps were filled.

        Code ``k`` of column ``j`` is ``memory[start + j * column + k * row]``, of 8 or 16 bits; ``data`` is
        uint8 and gets bytes from ``goal`` on, ``sums`` int32 ``[32]``. All steps are filled where either
        pitch is 1, else none, and nothing is written. ``swapped`` and ``wide`` as in ``panels``.
        """
        if column == 1:
            _fill_across(memory, start, column, row, steps, swapped, wide, data, goal, sums)
        elif row == 1:
            _fill_along(memory, start, column, row, steps, swapped, wide, data, goal, sums)
        else:
            return 0
        return steps
