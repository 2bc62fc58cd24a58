"""Inner loops in LLVM vectors: copy runs, unpack and widen weights, rescale sums.

LLVM does not find these by itself in loops over numba arrays (it cannot see that they do not overlap).
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hqsim.kernels.lanes import count_lanes, filled, splat

_BYTE, _WORD, _LANE, _SIZE = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_BYTES = ir.VectorType(_BYTE, 64)
_WORDS = ir.VectorType(_WORD, 32)


def _pointer(context, builder, kind, value):
    """Address of the first byte of an array."""
    return builder.bitcast(context.make_array(kind)(context, builder, value).data, _BYTE.as_pointer())


def _load(builder, pointer, offset, kind=_BYTES):
    value = builder.load(builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer()))
    value.align = 1
    return value


def _store(builder, value, pointer, offset):
    builder.store(value, builder.bitcast(builder.gep(pointer, [offset]), value.type.as_pointer())).align = 1


@intrinsic
def _copy_runs(typing_context, source, firsts, rows, count, flip, fill, target, goal):
    """Vectors of 64, 16 or 1 bytes, the last one of a run overlapping; all rows of one, then the next."""
    signature = types.void(
        source, firsts, types.intp, types.intp, types.uint8, types.uint8, target, types.intp
    )

    def generate(context, builder, signature, arguments):
        _, _, rows, count, flip, fill, _, goal = arguments
        x, places, block = (
            _pointer(context, builder, signature.args[position], arguments[position])
            for position in (0, 1, 6)
        )
        pitch = builder.extract_value(
            context.make_array(signature.args[6])(context, builder, arguments[6]).strides, 0
        )
        padding = cgutils.alloca_once(builder, _BYTES)
        builder.store(splat(builder, builder.xor(fill, flip), _BYTES), padding)
        padding = builder.bitcast(padding, _BYTE.as_pointer())

        def copy(size):
            kind = ir.VectorType(_BYTE, size)
            flips, last = splat(builder, flip, kind), builder.sub(count, _SIZE(size))
            vectors = builder.sdiv(builder.add(count, _SIZE(size - 1)), _SIZE(size))
            with cgutils.for_range(builder, vectors) as vector:
                offset = builder.mul(vector.index, _SIZE(size))
                offset = builder.select(builder.icmp_signed("<", offset, last), offset, last)
                with cgutils.for_range(builder, rows) as row:
                    first = _load(builder, places, builder.mul(row.index, _SIZE(8)), _SIZE)
                    outside = builder.icmp_signed("<", first, _SIZE(0))
                    run = builder.gep(x, [builder.add(first, offset)])
                    value = _load(builder, builder.select(outside, padding, run), _SIZE(0), kind)
                    place = builder.add(builder.mul(row.index, pitch), builder.add(goal, offset))
                    _store(builder, builder.xor(value, flips), block, place)

        with builder.if_else(builder.icmp_signed(">=", count, _SIZE(64))) as (long_runs, shorter):
            with long_runs:
                copy(64)
            with shorter:
                is_middle = builder.icmp_signed(">=", count, _SIZE(16))
                with builder.if_else(is_middle) as (middle, short_runs):
                    with middle:
                        copy(16)
                    with short_runs:
                        copy(1)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _unpack_nibbles(typing_context, packed, first, steps, target):
    """64 bytes to 128: low nibbles, then high nibbles, each less 8."""
    signature = types.void(packed, types.intp, types.intp, target)

    def generate(context, builder, signature, arguments):
        x = builder.gep(_pointer(context, builder, signature.args[0], arguments[0]), [arguments[1]])
        y = _pointer(context, builder, signature.args[3], arguments[3])
        with cgutils.for_range(builder, arguments[2]) as loop:
            pairs = _load(builder, x, builder.mul(loop.index, _SIZE(64)))
            low = builder.sub(builder.and_(pairs, filled(_BYTES, 15)), filled(_BYTES, 8))
            high = builder.sub(builder.lshr(pairs, filled(_BYTES, 4)), filled(_BYTES, 8))
            goal = builder.mul(loop.index, _SIZE(128))
            _store(builder, low, y, goal)
            _store(builder, high, y, builder.add(goal, _SIZE(64)))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _widen(typing_context, packed, first, steps, target):
    """128 bytes to 128 words: the low bytes of each pair of bytes, then the high ones, sign-extended."""
    signature = types.void(packed, types.intp, types.intp, target)

    def generate(context, builder, signature, arguments):
        x = builder.gep(_pointer(context, builder, signature.args[0], arguments[0]), [arguments[1]])
        y = _pointer(context, builder, signature.args[3], arguments[3])
        eight = filled(_WORDS, 8)
        with cgutils.for_range(builder, arguments[2]) as loop:
            source = builder.mul(loop.index, _SIZE(128))
            goal = builder.mul(loop.index, _SIZE(256))
            for half in (0, 64):
                pairs = _load(builder, x, builder.add(source, _SIZE(half)), _WORDS)
                low = builder.ashr(builder.shl(pairs, eight), eight)
                _store(builder, low, y, builder.add(goal, _SIZE(half)))
                _store(builder, builder.ashr(pairs, eight), y, builder.add(goal, _SIZE(half + 128)))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _rescale_columns(
    typing_context, sums, column, count, factor, addend, places, low, high, codes, left, observed
):
    """16 columns of ``count`` rows; factor, addend and shift stay in registers."""
    signature = types.void(
        sums,
        types.intp,
        types.intp,
        factor,
        addend,
        places,
        types.int64,
        types.int64,
        codes,
        types.intp,
        observed,
    )
    sixteen, wide = ir.VectorType(_LANE, 16), ir.VectorType(_SIZE, 16)

    def generate(context, builder, signature, arguments):
        _, column, count, _, _, _, low, high, _, left, _ = arguments
        arrays = {
            position: context.make_array(signature.args[position])(context, builder, arguments[position])
            for position in (0, 3, 4, 5, 8, 10)
        }
        pointer = _BYTE.as_pointer()
        data = {position: builder.bitcast(array.data, pointer) for position, array in arrays.items()}
        pitches = [builder.extract_value(arrays[position].strides, 0) for position in (0, 8)]
        four, eight = builder.mul(column, _SIZE(4)), builder.mul(column, _SIZE(8))
        factor = builder.sext(_load(builder, data[3], four, sixteen), wide)
        addend, places = (_load(builder, data[position], eight, wide) for position in (4, 5))
        low, high = (splat(builder, limit, wide) for limit in (low, high))
        source = builder.gep(data[0], [four])
        target = builder.gep(data[8], [builder.mul(builder.add(left, column), _SIZE(2))])
        starts = (_SIZE(0), filled(sixteen, 2**31 - 1), filled(sixteen, -(2**31)))
        kept = [cgutils.alloca_once_value(builder, start) for start in starts]
        for slot, start in zip(kept, starts, strict=True):
            builder.store(start, slot)
        with cgutils.for_range(builder, count) as loop:
            total = _load(builder, source, builder.mul(loop.index, pitches[0]), sixteen)
            value = builder.add(builder.mul(builder.sext(total, wide), factor), addend)
            value = builder.ashr(value, places)
            code = builder.select(builder.icmp_signed("<", value, low), low, value)
            code = builder.select(builder.icmp_signed(">", code, high), high, code)
            words = builder.trunc(code, ir.VectorType(_WORD, 16))
            _store(builder, words, target, builder.mul(loop.index, pitches[1]))
            clipped, smallest, largest = (builder.load(slot) for slot in kept)
            changed = count_lanes(builder, builder.icmp_signed("!=", code, value))
            builder.store(builder.add(clipped, changed), kept[0])
            builder.store(builder.select(builder.icmp_signed("<", total, smallest), total, smallest), kept[1])
            builder.store(builder.select(builder.icmp_signed(">", total, largest), total, largest), kept[2])
        found = [builder.load(kept[0])]
        for name, slot in (("smin", kept[1]), ("smax", kept[2])):
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(_LANE, [sixteen]), f"llvm.vector.reduce.{name}.v16i32"
            )
            found.append(builder.sext(builder.call(function, [builder.load(slot)]), _SIZE))
        addresses = [
            builder.bitcast(builder.gep(data[10], [_SIZE(8 * position)]), _SIZE.as_pointer())
            for position in range(3)
        ]
        clipped, smallest, largest = (builder.load(address) for address in addresses)
        smaller = builder.icmp_signed("<", found[1], smallest)
        larger = builder.icmp_signed(">", found[2], largest)
        builder.store(builder.add(clipped, found[0]), addresses[0])
        builder.store(builder.select(smaller, found[1], smallest), addresses[1])
        builder.store(builder.select(larger, found[2], largest), addresses[2])
        return context.get_dummy_value()

    return signature, generate


if numba.config.DISABLE_JIT:

    def rescale_block(sums, count, factor, addend, places, low, high, codes, left, observed):
        """Rescale a block of sums (plain form, for runs without the compiler)."""
        columns = len(factor)
        totals = sums[:count, :columns].astype(np.int64)
        values = (totals * factor + addend) >> places
        codes[:, left : left + columns] = np.clip(values, low, high)
        observed[0] += np.count_nonzero((values < low) | (values > high))
        observed[1:] = totals.min(initial=observed[1]), totals.max(initial=observed[2])

    def copy_runs(source, firsts, rows, count, flip, fill, target, goal):
        """Copy a run of bytes for every row (plain form, for runs without the compiler)."""
        for row, first in enumerate(firsts[:rows].tolist()):
            run = source[first : first + count] ^ flip if first >= 0 else fill
            target[row, goal : goal + count] = run

    def unpack_nibbles(packed, first, steps, target):
        """Spread 64 bytes per step to 128 (plain form)."""
        pairs = packed[first : first + 64 * steps].reshape(steps, 1, 64)
        halves = np.concatenate([pairs & 15, pairs >> 4], axis=1) - np.uint8(8)
        target[: 128 * steps] = halves.reshape(-1)

    def widen(packed, first, steps, target):
        """Turn 128 bytes per step into 128 words (plain form)."""
        pairs = packed[first : first + 128 * steps].view(np.int8).reshape(steps, 64, 2)
        target.view(np.int16)[: 128 * steps] = pairs.transpose(0, 2, 1).reshape(-1)

else:
    from hqsim.kernels.jit import helper
    from hqsim.kernels.scalar import clamp

    @helper
    def copy_runs(source, firsts, rows, count, flip, fill, target, goal):
        """Copy ``count`` bytes from ``source[firsts[r]]`` on, each xor ``flip``, to ``target[r, goal]`` on.

        For every row ``r`` below ``rows``; where ``firsts`` int64 is negative the run is ``fill``. Everything
        else is uint8; rows of the target are contiguous.
        """
        _copy_runs(source, firsts, rows, count, flip, fill, target, goal)

    @helper
    def unpack_nibbles(packed, first, steps, target):
        """Spread 64 bytes per step: columns 0-15 in the low, 16-31 in the high nibbles, each code + 8."""
        _unpack_nibbles(packed, first, steps, target)

    @helper
    def widen(packed, first, steps, target):
        """Turn 8-bit weights (k, k+2, k+1, k+3) of a step into two steps of 16 bits: (k, k+1), (k+2, k+3)."""
        _widen(packed, first, steps, target)

    @helper
    def rescale_block(sums, count, factor, addend, places, low, high, codes, left, observed):
        """Rescale the first ``count`` rows of sums to columns ``left ...`` of ``codes``.

        ``code = clamp((sum * factor + addend) >> places, low, high)`` with ``sums`` int32 ``[any, any]``,
        ``factor`` int32, ``addend`` and ``places`` int64 ``[columns]``, ``codes`` int16 ``[count, any]``,
        rows contiguous. Saturated codes, the smallest and the largest sum join ``observed`` int64 ``[3]``.
        """
        columns = factor.shape[0]
        whole = columns // 16 * 16
        for column in range(0, whole, 16):
            _rescale_columns(sums, column, count, factor, addend, places, low, high, codes, left, observed)
        for i in range(count):
            for j in range(whole, columns):
                total = np.int64(sums[i, j])
                value = (total * np.int64(factor[j]) + addend[j]) >> places[j]
                code = clamp(value, low, high)
                codes[i, left + j] = code
                observed[0] += value != code
                observed[1], observed[2] = min(observed[1], total), max(observed[2], total)
