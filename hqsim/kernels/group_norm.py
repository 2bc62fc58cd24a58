"""GroupNorm of channels-last codes: sums of channels, exact square roots, one rounding at the end."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.columns import column_loop
from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.lanes import LANE, SIZE, lane_intrinsic
from hqsim.kernels.normalize import addends, normalize_by_column, scaling_of
from hqsim.kernels.threads import part_of, share, team_size

BLOCK_CODES = 8192
"""How many codes of a block of rows are read by strips of columns: they stay in the first cache."""


def _plain_moments(count, sums, squares, x):
    q = x[:count].astype(np.int64)
    sums += q.sum(axis=0)
    squares += (q * q).sum(axis=0)


@lane_intrinsic(_plain_moments)
def _add_moments(typing_context, count, sums, squares, x):
    """Add the codes of rows to ``sums`` and their squares to ``squares``, int64; at most 2**14 rows."""
    # A square of 16 bits fits 32 bits without a sign, the sum of a column 32 bits with one.
    narrow = x.dtype.bitwidth <= 16
    element = LANE if narrow else SIZE

    def emit(strip):
        builder = strip.builder
        total, square = strip.kept(element), strip.kept(SIZE)

        def row():
            q = strip.load(3, element)
            builder.store(builder.add(builder.load(total), q), total)
            squared = builder.mul(q, q)
            wide = builder.zext(squared, square.type.pointee) if narrow else squared
            builder.store(builder.add(builder.load(square), wide), square)

        def end():
            found = builder.load(total)
            for position, value in (
                (1, builder.sext(found, square.type.pointee) if narrow else found),
                (2, builder.load(square)),
            ):
                strip.store(position, builder.add(strip.load(position, SIZE), value))

        return row, end

    return column_loop(32, emit, count, sums, squares, x)


@helper
def _rows_of_block(channels):
    return max(1, BLOCK_CODES // channels)


@helper
def _sum_pixels(worker, threads, x, moments):
    """Sum codes and their squares over ``x [samples, pixels, channels]``.

    Every worker fills its part of ``moments [samples, threads, 2, channels]``.
    """
    begin, end = part_of(worker, threads, x.shape[1])
    step = _rows_of_block(x.shape[2])
    for sample in range(x.shape[0]):
        sums, squares = moments[sample, worker]
        sums[:], squares[:] = 0, 0
        for first in range(begin, end, step):
            last = min(first + step, end)
            _add_moments(last - first, sums, squares, x[sample, first:last])


@helper
def _find_scaling(moments, groups, n, fraction, epsilon, scaling, rounding):
    """Fill what normalises the channels of a sample from ``moments [parts, 2, channels]``.

    ``scaling`` int32 and ``rounding`` int64 ``[2, channels]``: mean and inverse, half and shift.
    """
    size = moments.shape[2] // groups
    for group in range(groups):
        total, square = np.int64(0), np.int64(0)
        for part in range(moments.shape[0]):
            for c in range(group * size, (group + 1) * size):
                total += moments[part, 0, c]
                square += moments[part, 1, c]
        mean, inverse, half, places = scaling_of(total, square, n, fraction, epsilon)
        for c in range(group * size, (group + 1) * size):
            scaling[0, c], scaling[1, c] = mean, inverse
            rounding[0, c], rounding[1, c] = half, places


@helper
def _normalize_pixels(
    worker, threads, x, fraction, scaling, rounding, gain, addend, total_bits, low, high, codes
):
    begin, end = part_of(worker, threads, x.shape[1])
    step, saturated = _rows_of_block(x.shape[2]), np.zeros(1, np.int64)
    for sample in range(x.shape[0]):
        for first in range(begin, end, step):
            last = min(first + step, end)
            normalize_by_column(
                last - first,
                gain,
                addend,
                scaling[sample],
                rounding[sample],
                fraction,
                total_bits,
                low,
                high,
                x[sample, first:last],
                codes[sample, first:last],
                saturated,
            )
    return saturated[0]


@kernel
def group_normalize(x, groups, fraction, epsilon, gain, gain_bits, offset, low, high, codes):
    """Normalize ``x [samples, pixels, channels]`` in ``groups`` groups of channels; return what saturated.

    With ``f = fraction``: ``mean`` in ``f`` fractional bits, ``d = (x << f) - mean``, ``V = max(1, sum d**2 +
    epsilon)`` (from the sums of ``x`` and ``x**2``, exactly), ``1/sqrt(V)`` by an exact integer square root
    and a division, ``t = d / sqrt(V)`` in 30 fractional bits, then ``t * gain + offset`` and one rounding.
    ``gain`` and ``offset`` are int64 ``[channels]``; the offset has 16 fractional bits.
    """
    samples, pixels, channels = x.shape
    threads, total_bits = team_size(), 30 + gain_bits
    moments = np.empty((samples, threads, 2, channels), np.int64)
    scaling = np.empty((samples, 2, channels), np.int32)
    rounding = np.empty((samples, 2, channels), np.int64)
    share(_sum_pixels, threads, (x, moments))
    for sample in range(samples):
        n = pixels * (channels // groups)
        _find_scaling(moments[sample], groups, n, fraction, epsilon, scaling[sample], rounding[sample])
    gains, addend = gain.astype(np.int32), addends(offset, total_bits)
    arguments = (x, fraction, scaling, rounding, gains, addend, total_bits, low, high, codes)
    return share(_normalize_pixels, threads, arguments)
