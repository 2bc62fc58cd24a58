"""Inner loops in LLVM vectors: copy runs, unpack and widen weights.

LLVM does not find these by itself in loops over numba arrays (it cannot see that they do not overlap).
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from hqsim.kernels.lanes import filled, splat

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


if numba.config.DISABLE_JIT:

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
