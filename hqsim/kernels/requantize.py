"""The rescale of the operand quantizer in 32 bits: multipliers of 15 bits, values of up to 32.

With ``v = 2**16 h + l``, ``l`` in [0, 2**16), the product ``v M`` of up to 47 bits need not exist:

    s > 16    floor(v M / 2**s + 1/2) = (h M + (l M >> 16) + 2**(s - 17)) >> (s - 16)
    s <= 16   floor(v M / 2**s + 1/2) = (h M << (16 - s)) + ((l M + half) >> s)

Above, all terms fit 32 bits, and from ``s`` = 47 on the result is 0. Below, sums may wrap and the result is
still exact where it fits 32 bits itself, so values are limited first to those that just saturate.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from hqsim.kernels.jit import helper
from hqsim.kernels.lanes import LANE, WORD, cut, filled, joined, splat
from hqsim.kernels.tile import HAS_VNNI

FACTOR_FIELDS = 9
"""Numbers of a factor: multiplier, whether ``s > 16``, half, places, least, most, low, high, zero-point."""


@helper
def factor_of(factor, low, high):
    """Return what :class:`Requantizer` takes for ``clamp(round_shift(v * multiplier, shift) + zero)``.

    ``factor`` int64 holds ``multiplier`` in [1, 2**15), ``shift`` in [0, 62] and ``zero``; limits have up to
    16 bits.
    """
    multiplier, shift, zero = factor[0], factor[1], factor[2]
    low, high = low - zero, high - zero
    one, reach = np.int64(1), np.int64(1) << 31
    if shift > 16:
        places = min(shift, np.int64(47)) - 16
        return multiplier, one, one << (places - 1), places, -reach, reach - 1, low, high, zero
    least = ((low - 1) << shift) // multiplier - 1
    most = ((high + 1) << shift) // multiplier + 1
    half = (one << shift) >> 1
    return multiplier, one - 1, half, shift, max(least, -reach), min(most, reach - 1), low, high, zero


def plain_requantize(values, factor):
    """Return codes and how many saturated (plain form, for runs without the compiler)."""
    multiplier, coarse, half, places, _, _, low, high, zero = (int(number) for number in factor)
    if coarse:
        places, half = places + 16, half << 16
    rounded = (values.astype(np.int64) * multiplier + half) >> places
    return np.clip(rounded, low, high) + zero, np.count_nonzero((rounded < low) | (rounded > high))


class Requantizer:
    """LLVM code of the rescale, on vectors of ``lanes`` 32-bit values; made outside of the loop."""

    def __init__(self, builder: ir.IRBuilder, factor: ir.Value, lanes: int) -> None:
        self.builder, self.kind = builder, ir.VectorType(LANE, lanes)
        numbers = [
            builder.trunc(builder.extract_value(factor, field), LANE) for field in range(FACTOR_FIELDS)
        ]
        self.multiplier, self.coarse = numbers[0], builder.trunc(numbers[1], ir.IntType(1))
        self.half, self.places, self.least, self.most, self.low, self.high, self.zero = (
            splat(builder, number, self.kind) for number in numbers[2:]
        )
        self.upper = splat(builder, builder.shl(self.multiplier, LANE(16)), self.kind)
        self.lower = splat(builder, self.multiplier, self.kind)
        self.fill = splat(builder, builder.sub(LANE(16), numbers[3]), self.kind)

    def emit(self, values: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return codes, and the mask of those that saturated."""
        builder = self.builder
        with builder.if_else(self.coarse) as (coarse, fine):
            with coarse:
                one, from_one = self._coarse(values), builder.basic_block
            with fine:
                other, from_other = self._fine(values), builder.basic_block
        rounded = builder.phi(self.kind)
        rounded.add_incoming(one, from_one)
        rounded.add_incoming(other, from_other)
        code = _limited(builder, rounded, self.low, self.high)
        return builder.add(code, self.zero), builder.icmp_signed("!=", code, rounded)

    def _coarse(self, values: ir.Value) -> ir.Value:
        """For ``s > 16``; on CPUs with VNNI as products of 16-bit halves, one instruction each."""
        builder = self.builder
        if HAS_VNNI:
            upper = _by_words(builder, "pmaddw.d", LANE, values, self.upper)
            lower = _by_words(builder, "pmulhu.w", WORD, values, self.lower)
        else:
            lower = builder.mul(builder.and_(values, filled(self.kind, 65535)), self.lower)
            upper, lower = self._high(values), builder.lshr(lower, filled(self.kind, 16))
        total = builder.add(builder.add(upper, self.half), lower)
        return builder.ashr(total, self.places)

    def _fine(self, values: ir.Value) -> ir.Value:
        """For ``s <= 16``."""
        builder = self.builder
        values = _limited(builder, values, self.least, self.most)
        lower = builder.mul(builder.and_(values, filled(self.kind, 65535)), self.lower)
        lower = builder.lshr(builder.add(lower, self.half), self.places)
        return builder.add(builder.shl(self._high(values), self.fill), lower)

    def _high(self, values: ir.Value) -> ir.Value:
        return self.builder.mul(self.builder.ashr(values, filled(self.kind, 16)), self.lower)


def _limited(builder: ir.IRBuilder, values: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
    values = builder.select(builder.icmp_signed("<", values, low), low, values)
    return builder.select(builder.icmp_signed(">", values, high), high, values)


def _by_words(builder: ir.IRBuilder, name: str, element: ir.IntType, a: ir.Value, b: ir.Value) -> ir.Value:
    """Return an AVX-512 operation on the 16-bit halves of 32-bit lanes, again as 32-bit lanes."""
    words, lanes = ir.VectorType(WORD, 32), ir.VectorType(LANE, 16)
    result = ir.VectorType(element, 512 // element.width)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [words, words]), f"llvm.x86.avx512.{name}.512"
    )
    pairs = zip(cut(builder, a, 16), cut(builder, b, 16), strict=True)
    parts = [builder.call(function, [builder.bitcast(side, words) for side in pair]) for pair in pairs]
    return joined(builder, [builder.bitcast(part, lanes) for part in parts])
