"""GroupNorm of channels-last codes: sums of channels, exact square roots, one rounding at the end."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.lanes import LANE, SIZE, lane_intrinsic, lane_loop
from hqsim.kernels.rescale import plain_clamp
from hqsim.kernels.scalar import bit_length, integer_sqrt
from hqsim.kernels.threads import part_of, share, team_size


def _plain_moments(row, sums, squares):
    q = row.astype(np.int64)
    sums += q
    squares += q * q


@lane_intrinsic(_plain_moments)
def _add_moments(typing_context, row, sums, squares):
    """Add codes to ``sums`` and their squares to ``squares``, int64."""

    def emit(step):
        q = step.load(0, LANE)
        for position, value in ((1, step.load(0, SIZE)), (2, step.product(q, q))):
            step.store(position, step.builder.add(step.load(position, SIZE), value))

    return lane_loop(16, emit, row, sums, squares)


def _plain_normalize(row, fraction, mean, inverse, half, shift, gain, addend, total_bits, low, high, codes):
    t = (((row.astype(np.int64) << fraction) - mean) * inverse.astype(np.int64) + half) >> shift
    return plain_clamp((t * gain + addend) >> total_bits, low, high, codes)


@lane_intrinsic(_plain_normalize)
def normalize_row(
    typing_context, row, fraction, mean, inverse, half, shift, gain, addend, total_bits, low, high, codes
):
    """Write one row of codes; ``mean``, ``inverse`` and ``gain`` are int32, as is ``t``."""

    def emit(step):
        builder = step.builder
        d = builder.sub(builder.shl(step.load(0, LANE), step.scalar(1, LANE)), step.load(2, LANE))
        t = builder.add(step.product(d, step.load(3, LANE)), step.load(4, SIZE))
        t = builder.trunc(builder.ashr(t, step.load(5, SIZE)), d.type)
        value = builder.add(step.product(t, step.load(6, LANE)), step.load(7, SIZE))
        value = builder.ashr(value, step.scalar(8, SIZE))
        code, saturated = step.clamp(value, step.scalar(9, SIZE), step.scalar(10, SIZE))
        step.store(11, code)
        return saturated

    return lane_loop(
        16, emit, row, fraction, mean, inverse, half, shift, gain, addend, total_bits, low, high, codes
    )


@helper
def _sum_pixels(worker, threads, x, moments):
    """Sum codes and their squares over ``x [samples, pixels, channels]``.

    Every worker fills its part of ``moments [samples, threads, 2, channels]``.
    """
    begin, end = part_of(worker, threads, x.shape[1])
    for sample in range(x.shape[0]):
        sums, squares = moments[sample, worker]
        sums[:], squares[:] = 0, 0
        for pixel in range(begin, end):
            _add_moments(x[sample, pixel], sums, squares)


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
    pixels, saturated = x.shape[1], np.int64(0)
    begin, end = part_of(worker, threads, x.shape[0] * pixels)
    for unit in range(begin, end):
        sample, pixel = unit // pixels, unit % pixels
        saturated += normalize_row(
            x[sample, pixel],
            fraction,
            scaling[sample, 0],
            scaling[sample, 1],
            rounding[sample, 0],
            rounding[sample, 1],
            gain,
            addend,
            total_bits,
            low,
            high,
            codes[sample, pixel],
        )
    return saturated


@helper
def addends(offset, total_bits):
    """Return offset and rounding of every channel."""
    addend = np.empty(offset.shape[0], np.int64)
    for c in range(offset.shape[0]):
        addend[c] = (offset[c] << (total_bits - 16)) + (np.int64(1) << (total_bits - 1))
    return addend


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
