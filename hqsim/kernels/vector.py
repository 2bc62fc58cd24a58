"""Inner loops in LLVM vectors: copy a run, unpack and widen weights, rescale a row of sums, butterflies.

LLVM does not find these by itself in loops over numba arrays (it cannot see that they do not overlap).
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTE, _WORD, _SIZE = ir.IntType(8), ir.IntType(16), ir.IntType(64)
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


def _filled(kind, value):
    return ir.Constant(kind, [value] * kind.count)


@intrinsic
def _copy_run(typing_context, source, first, count, flip, target, goal):
    """Copy ``count`` bytes, each xor ``flip``: vectors of 64, the last one overlapping."""
    signature = types.void(source, types.intp, types.intp, types.uint8, target, types.intp)

    def generate(context, builder, signature, arguments):
        _, first, count, flip, _, goal = arguments
        x = builder.gep(_pointer(context, builder, signature.args[0], arguments[0]), [first])
        y = builder.gep(_pointer(context, builder, signature.args[4], arguments[4]), [goal])
        lane = builder.insert_element(ir.Constant(_BYTES, ir.Undefined), flip, ir.IntType(32)(0))
        flips = builder.shuffle_vector(
            lane, ir.Constant(_BYTES, ir.Undefined), _filled(ir.VectorType(ir.IntType(32), 64), 0)
        )

        def move(offset):
            _store(builder, builder.xor(_load(builder, x, offset), flips), y, offset)

        with builder.if_else(builder.icmp_signed(">=", count, _SIZE(64))) as (long_run, short_run):
            with long_run:
                last = builder.sub(count, _SIZE(64))
                with cgutils.for_range_slice(builder, _SIZE(0), last, _SIZE(64), inc=True) as (index, _):
                    move(index)
                move(last)
            with short_run, cgutils.for_range(builder, count) as loop:
                byte = builder.load(builder.gep(x, [loop.index]))
                builder.store(builder.xor(byte, flip), builder.gep(y, [loop.index]))
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
            low = builder.sub(builder.and_(pairs, _filled(_BYTES, 15)), _filled(_BYTES, 8))
            high = builder.sub(builder.lshr(pairs, _filled(_BYTES, 4)), _filled(_BYTES, 8))
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
        eight = _filled(_WORDS, 8)
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
def _rescale_row(
    typing_context, sums, corrections, halves, factor, addend, places, low, high, codes, observed
):
    """16 columns at a time; the caller does the rest of the row."""
    signature = types.void(
        sums, corrections, halves, factor, addend, places, types.int64, types.int64, codes, observed
    )
    sixteen, wide = ir.VectorType(ir.IntType(32), 16), ir.VectorType(_SIZE, 16)

    def generate(context, builder, signature, arguments):
        arrays = [
            context.make_array(signature.args[position])(context, builder, arguments[position])
            for position in (0, 1, 2, 3, 4, 5, 8, 9)
        ]
        sums, corrections, halves, factor, addend, places, codes, observed = (
            builder.bitcast(array.data, _BYTE.as_pointer()) for array in arrays
        )
        halved = builder.icmp_signed(">", builder.extract_value(arrays[2].shape, 0), _SIZE(0))
        limits = []
        for limit in arguments[6:8]:
            lane = builder.insert_element(ir.Constant(wide, ir.Undefined), limit, ir.IntType(32)(0))
            limits.append(builder.shuffle_vector(lane, ir.Constant(wide, ir.Undefined), _filled(sixteen, 0)))
        starts = (_filled(wide, 0), _filled(sixteen, 2**31 - 1), _filled(sixteen, -(2**31)))
        kept = [cgutils.alloca_once_value(builder, start) for start in starts]
        groups = builder.sdiv(builder.extract_value(arrays[6].shape, 0), _SIZE(16))
        with cgutils.for_range(builder, groups) as loop:
            four = builder.mul(loop.index, _SIZE(64))
            eight = builder.mul(loop.index, _SIZE(128))
            total = builder.sub(
                _load(builder, sums, four, sixteen), _load(builder, corrections, four, sixteen)
            )
            slot = cgutils.alloca_once_value(builder, total)
            builder.store(total, slot)
            with builder.if_then(halved):
                builder.store(
                    builder.add(builder.add(total, total), _load(builder, halves, four, sixteen)), slot
                )
            total = builder.load(slot)
            value = builder.mul(
                builder.sext(total, wide), builder.sext(_load(builder, factor, four, sixteen), wide)
            )
            value = builder.add(value, _load(builder, addend, eight, wide))
            value = builder.ashr(value, _load(builder, places, eight, wide))
            code = builder.select(builder.icmp_signed("<", value, limits[0]), limits[0], value)
            code = builder.select(builder.icmp_signed(">", code, limits[1]), limits[1], code)
            _store(
                builder,
                builder.trunc(code, ir.VectorType(_WORD, 16)),
                codes,
                builder.mul(loop.index, _SIZE(32)),
            )
            clipped = builder.zext(builder.icmp_signed("!=", code, value), wide)
            count, smallest, largest = (builder.load(slot) for slot in kept)
            builder.store(builder.add(count, clipped), kept[0])
            builder.store(builder.select(builder.icmp_signed("<", total, smallest), total, smallest), kept[1])
            builder.store(builder.select(builder.icmp_signed(">", total, largest), total, largest), kept[2])
        reductions = (("add", wide), ("smin", sixteen), ("smax", sixteen))
        for position, (name, kind) in enumerate(reductions):
            function = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(kind.element, [kind]),
                f"llvm.vector.reduce.{name}.v16i{kind.element.width}",
            )
            result = builder.call(function, [builder.load(kept[position])])
            if kind is sixteen:
                result = builder.sext(result, _SIZE)
            address = builder.bitcast(builder.gep(observed, [_SIZE(8 * position)]), _SIZE.as_pointer())
            builder.store(result, address)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _butterflies(typing_context, row, size):
    """Blocks of ``size``, at most 32, in vectors of 32: in stage ``h`` element ``j`` meets ``j ^ h``."""
    signature = types.void(row, types.intp)
    vector = ir.VectorType(ir.IntType(32), 32)

    def generate(context, builder, signature, arguments):
        data = _pointer(context, builder, signature.args[0], arguments[0])
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        count = builder.sdiv(builder.extract_value(array.shape, 0), _SIZE(32))
        with cgutils.for_range(builder, count) as loop:
            offset = builder.mul(loop.index, _SIZE(128))
            slot = cgutils.alloca_once_value(builder, _load(builder, data, offset, vector))
            builder.store(_load(builder, data, offset, vector), slot)
            for stage in range(5):
                half = 1 << stage
                with builder.if_then(builder.icmp_signed(">", arguments[1], _SIZE(half))):
                    values = builder.load(slot)
                    order = ir.Constant(vector, [j ^ half for j in range(32)])
                    partner = builder.shuffle_vector(values, ir.Constant(vector, ir.Undefined), order)
                    signs = ir.Constant(vector, [-1 if j & half else 1 for j in range(32)])
                    builder.store(builder.add(partner, builder.mul(values, signs)), slot)
            _store(builder, builder.load(slot), data, offset)
        return context.get_dummy_value()

    return signature, generate


if numba.config.DISABLE_JIT:

    def butterflies(row, size):
        """Transform the blocks of ``size`` in ``row`` (plain form, for runs without the compiler)."""
        half = 1
        while half < size:
            pairs = row.reshape(-1, 2, half)
            pairs[:] = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1)
            half *= 2

    def rescale_row(sums, corrections, halves, factor, addend, places, low, high, codes, observed):
        """Rescale a row of sums (plain form, for runs without the compiler)."""
        count = len(codes)
        totals = sums[:count] - corrections
        if len(halves):
            totals = 2 * totals + halves
        values = (totals.astype(np.int64) * factor + addend) >> places
        codes[:] = np.clip(values, low, high)
        observed[:] = np.count_nonzero((values < low) | (values > high)), totals.min(), totals.max()

    def copy_run(source, first, count, flip, target, goal):
        """Copy ``count`` bytes, each xor ``flip`` (plain form, for runs without the compiler)."""
        target.reshape(-1)[goal : goal + count] = source[first : first + count] ^ flip

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
    def copy_run(source, first, count, flip, target, goal):
        """Copy ``count`` bytes from ``source[first]`` on to ``target[goal]`` on, each xor ``flip``."""
        _copy_run(source, first, count, flip, target, goal)

    @helper
    def unpack_nibbles(packed, first, steps, target):
        """Spread 64 bytes per step: columns 0-15 in the low, 16-31 in the high nibbles, each code + 8."""
        _unpack_nibbles(packed, first, steps, target)

    @helper
    def widen(packed, first, steps, target):
        """Turn 8-bit weights (k, k+2, k+1, k+3) of a step into two steps of 16 bits: (k, k+1), (k+2, k+3)."""
        _widen(packed, first, steps, target)

    @helper
    def rescale_row(sums, corrections, halves, factor, addend, places, low, high, codes, observed):
        """Rescale a row of sums to ``codes``; note saturated codes, smallest and largest sum in ``observed``.

        ``total = sums - corrections`` (then ``2 * total + halves``, unless ``halves`` is empty), int32,
        wrapping; ``code = clamp((total * factor + addend) >> places, low, high)``. ``corrections``,
        ``halves`` and ``factor`` are int32, ``addend``, ``places`` and ``observed [3]`` int64, ``codes``
        int16, all contiguous.
        """
        _rescale_row(sums, corrections, halves, factor, addend, places, low, high, codes, observed)
        for i in range(codes.shape[0] // 16 * 16, codes.shape[0]):
            total = np.int32(sums[i] - corrections[i])
            if halves.shape[0] > 0:
                total = np.int32(2 * total + halves[i])
            value = (np.int64(total) * np.int64(factor[i]) + addend[i]) >> places[i]
            code = clamp(value, low, high)
            codes[i] = code
            observed[0] += value != code
            observed[1] = min(observed[1], np.int64(total))
            observed[2] = max(observed[2], np.int64(total))

    @helper
    def butterflies(row, size):
        """Transform the blocks of ``size``, at most 32, in ``row`` int32, a multiple of 32 long."""
        _butterflies(row, size)
