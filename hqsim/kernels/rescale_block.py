"""The end of a product: sums of a block become codes while they are in the cache, and are observed."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.columns import column_loop
from hqsim.kernels.jit import helper
from hqsim.kernels.lanes import LANE, SIZE, lane_intrinsic, resized

_FACTOR, _ADDEND, _PLACES, _REACH, _LOW, _HIGH, _SUMS, _CODES, _OBSERVED = range(1, 10)
"""The arguments of the loop, after the number of rows."""


@helper
def reach_of(factor, addend, places, low, high):
    """Return how far sums matter if 32 bits are enough to rescale them, else 0.

    A sum beyond it saturates, whatever its column; one within it fits 32 bits with every factor and addend.
    """
    least, most, farthest, largest = np.int64(2**31), np.int64(0), np.int64(0), np.int64(0)
    for j in range(factor.shape[0]):
        least, most = min(least, np.int64(factor[j])), max(most, np.int64(factor[j]))
        farthest, largest = max(farthest, abs(addend[j])), max(largest, places[j])
    if least <= 0 or largest > 30 or farthest >= 2**31:
        return np.int64(0)
    reach = ((max(high, -low) + 1 << largest) + farthest) // least + 1
    return reach if reach * most + farthest < 2**31 else np.int64(0)


def _plain_rescale(count, factor, addend, places, reach, low, high, sums, codes, observed):
    totals = sums[:count, : len(factor)].astype(np.int64)
    values = ((totals.clip(-reach, reach) if reach else totals) * factor + addend) >> places
    codes[:count] = np.clip(values, low, high)
    observed[0] += np.count_nonzero((values < low) | (values > high))
    observed[1:] = totals.min(initial=observed[1]), totals.max(initial=observed[2])


def _smaller(builder, a, b):
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def _larger(builder, a, b):
    return builder.select(builder.icmp_signed(">", a, b), a, b)


def _rescale_loop(element):
    """Return the intrinsic that rescales a block in ``element``; in 32 bits, sums limited to their reach."""

    @lane_intrinsic(_plain_rescale)
    def rescale(typing_context, count, factor, addend, places, reach, low, high, sums, codes, observed):
        def emit(strip):
            builder = strip.builder
            factor, addend, places = (strip.load(at, element) for at in (_FACTOR, _ADDEND, _PLACES))
            reach, low, high = (strip.scalar(at, element) for at in (_REACH, _LOW, _HIGH))
            saturated, smallest, largest = (strip.kept(LANE, start) for start in (0, 2**31 - 1, -(2**31)))

            def row():
                total = strip.load(_SUMS, LANE)
                value = resized(builder, total, element, True)
                if element is LANE:
                    value = _smaller(builder, _larger(builder, value, builder.neg(reach)), reach)
                value = builder.ashr(builder.add(builder.mul(value, factor), addend), places)
                code, changed = strip.clamp(value, low, high)
                strip.store(_CODES, code)
                strip.tally(saturated, changed)
                builder.store(_smaller(builder, builder.load(smallest), total), smallest)
                builder.store(_larger(builder, builder.load(largest), total), largest)

            def end():
                for at, (name, slot) in enumerate(
                    (("add", saturated), ("smin", smallest), ("smax", largest))
                ):
                    strip.join(_OBSERVED, at, name, slot)

            return row, end

        return column_loop(16, emit, count, factor, addend, places, reach, low, high, sums, codes, observed)

    return rescale


_rescale_narrow, _rescale_wide = _rescale_loop(LANE), _rescale_loop(SIZE)


@helper
def rescale_block(sums, count, factor, addend, places, reach, low, high, codes, observed):
    """Rescale the first ``count`` rows of sums to ``codes``.

    ``code = clamp((sum * factor + addend) >> places, low, high)`` with ``sums`` int32 ``[any, any]``,
    ``factor`` int32, ``addend`` and ``places`` int64 ``[columns]``, ``codes`` int16 ``[count, columns]``;
    rows contiguous. Saturated codes, the smallest and the largest sum join ``observed`` int64 ``[3]``. A
    ``reach`` other than 0 (:func:`reach_of`) says that 32 bits are enough.
    """
    if reach > 0:
        _rescale_narrow(count, factor, addend, places, reach, low, high, sums, codes, observed)
    else:
        _rescale_wide(count, factor, addend, places, reach, low, high, sums, codes, observed)
