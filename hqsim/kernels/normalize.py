"""What both norms share: an exact inverse deviation, and the loop from codes to normalized codes.

A value is ``t = ((x << f) - mean) * inverse``, rounded to 30 fractional bits, then ``t * gain + addend`` with
one rounding. Gain and addend belong to a column; mean and inverse to a column (GroupNorm) or to a row
(LayerNorm).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from llvmlite import ir

from hqsim.kernels.columns import column_loop
from hqsim.kernels.jit import helper
from hqsim.kernels.lanes import LANE, SIZE, lane_intrinsic, resized, shuffled
from hqsim.kernels.rescale import plain_clamp
from hqsim.kernels.scalar import bit_length, integer_sqrt

_GAIN, _ADDEND, _MEAN, _INVERSE, _HALF, _SHIFT, _FRACTION, _BITS, _LOW, _HIGH, _X, _CODES, _SATURATED = range(
    1, 14
)
"""The arguments of the loop, after the number of rows."""


@helper
def scaling_of(total, square, n, fraction, epsilon):
    """Return mean, inverse of the deviation, half and shift, from sums of ``n`` codes and of their squares.

    The inverse is at most 2**30; half and shift round the first product.
    """
    mean = ((total << fraction) * 2 + n) // (2 * n)
    spread = (square << (2 * fraction)) - 2 * mean * (total << fraction) + n * mean * mean + epsilon
    spread = max(spread, np.int64(1))
    h = 62 - bit_length(spread)
    h -= h & 1
    inverse = (np.int64(1) << 54) // integer_sqrt(spread << h)
    places = 24 - h // 2
    if places > 0:
        return mean, inverse, np.int64(1) << (places - 1), places
    return mean, inverse << -places, np.int64(0), np.int64(0)


@helper
def addends(offset, total_bits):
    """Return offset and rounding of every column."""
    addend = np.empty(offset.shape[0], np.int64)
    for c in range(offset.shape[0]):
        addend[c] = (offset[c] << (total_bits - 16)) + (np.int64(1) << (total_bits - 1))
    return addend


def _spread(builder, value):
    """Return even and odd lanes in 64 bits each (one lane: itself): a product of these is one instruction."""
    lanes, element = value.type.count, value.type.element
    if lanes == 1:
        return [resized(builder, value, SIZE, True)]
    if element == SIZE:
        return [shuffled(builder, value, value, list(range(first, lanes, 2))) for first in (0, 1)]
    kind = ir.VectorType(SIZE, lanes // 2)
    pairs, places = builder.bitcast(value, kind), ir.Constant(kind, [32] * kind.count)
    return [builder.ashr(builder.shl(pairs, places), places), builder.ashr(pairs, places)]


def _in_order(builder, parts, element):
    """Return the lanes that :func:`_spread` spread, in order: whole, or their upper 32 bits."""
    count = len(parts)
    if element == LANE:
        parts = [builder.bitcast(part, ir.VectorType(LANE, 2 * part.type.count)) for part in parts]
    lanes, upper = parts[0].type.count, int(element == LANE)
    order = [lane + lanes * part for lane in range(upper, lanes, 1 + upper) for part in range(count)]
    return shuffled(builder, parts[0], parts[-1], order)


def _plain_normalize(
    by_row, count, gain, addend, mean, inverse, half, shift, fraction, bits, low, high, x, codes, saturated
):
    scaling = mean, inverse.astype(np.int64), half, shift
    mean, inverse, half, shift = (values[:count, None] if by_row else values for values in scaling)
    t = (((x[:count].astype(np.int64) << fraction) - mean) * inverse + half) >> shift
    saturated += plain_clamp((t * gain + addend) >> bits, low, high, codes[:count])


def _normalize_loop(by_row, narrow):
    """Return the intrinsic of the loop; ``narrow``: at least 32 bits are shifted out at its end."""

    @lane_intrinsic(partial(_plain_normalize, by_row))
    def normalize(
        typing_context,
        count,
        gain,
        addend,
        mean,
        inverse,
        half,
        shift,
        fraction,
        bits,
        low,
        high,
        x,
        codes,
        saturated,
    ):
        def emit(strip):
            builder = strip.builder
            gain, addend = (
                _spread(builder, strip.load(at, kind)) for at, kind in ((_GAIN, LANE), (_ADDEND, SIZE))
            )
            fraction = strip.scalar(_FRACTION, LANE)
            element = LANE if narrow else SIZE
            bits, low, high = (strip.scalar(at, element) for at in (_BITS, _LOW, _HIGH))
            if narrow:
                bits = builder.sub(bits, ir.Constant(bits.type, [32] * strip.lanes))
            clipped = strip.kept(LANE)

            def scaling():
                load = strip.entry if by_row else strip.load
                mean = load(_MEAN, LANE)
                spread = [
                    _spread(builder, load(at, kind))
                    for at, kind in ((_INVERSE, LANE), (_HALF, SIZE), (_SHIFT, SIZE))
                ]
                return mean, *spread

            shared = None if by_row else scaling()

            def row():
                mean, inverse, half, shift = shared or scaling()
                centred = _spread(builder, builder.sub(builder.shl(strip.load(_X, LANE), fraction), mean))
                values = []
                for i, d in enumerate(centred):
                    t = builder.ashr(builder.add(builder.mul(d, inverse[i]), half[i]), shift[i])
                    t = resized(builder, resized(builder, t, LANE, True), SIZE, True)
                    values.append(builder.add(builder.mul(t, gain[i]), addend[i]))
                value = builder.ashr(_in_order(builder, values, element), bits)
                code, changed = strip.clamp(value, low, high)
                strip.store(_CODES, code)
                strip.tally(clipped, changed)

            def end():
                strip.join(_SATURATED, 0, "add", clipped)

            return row, end

        return column_loop(
            16,
            emit,
            count,
            gain,
            addend,
            mean,
            inverse,
            half,
            shift,
            fraction,
            bits,
            low,
            high,
            x,
            codes,
            saturated,
        )

    return normalize


_columns_narrow, _columns_wide = _normalize_loop(False, True), _normalize_loop(False, False)
_rows_narrow, _rows_wide = _normalize_loop(True, True), _normalize_loop(True, False)


@helper
def normalize_by_column(
    count, gain, addend, scaling, rounding, fraction, bits, low, high, x, codes, saturated
):
    """Write ``count`` rows of ``codes`` from ``x``; add what saturated to ``saturated`` int64 ``[1]``.

    ``scaling`` int32 holds mean and inverse, ``rounding`` int64 half and shift, ``[2, columns]``. ``gain`` is
    int32, ``addend`` int64 ``[columns]``; ``bits`` are shifted out at the end.
    """
    numbers = scaling[0], scaling[1], rounding[0], rounding[1], fraction, bits, low, high, x, codes, saturated
    if bits >= 32:
        _columns_narrow(count, gain, addend, *numbers)
    else:
        _columns_wide(count, gain, addend, *numbers)


@helper
def normalize_by_row(count, gain, addend, scaling, rounding, fraction, bits, low, high, x, codes, saturated):
    """As :func:`normalize_by_column`; ``scaling`` and ``rounding`` ``[2, rows]``: of a row."""
    numbers = scaling[0], scaling[1], rounding[0], rounding[1], fraction, bits, low, high, x, codes, saturated
    if bits >= 32:
        _rows_narrow(count, gain, addend, *numbers)
    else:
        _rows_wide(count, gain, addend, *numbers)
