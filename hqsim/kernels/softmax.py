"""Softmax in integers: one exponential table per layer, one exact division per element by a reciprocal."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.lanes import LANE, SIZE, elements, filled, lane_intrinsic, lane_loop
from hqsim.kernels.scalar import round_shift
from hqsim.kernels.threads import part_of, share, team_size


@helper
def _exponentials(worker, threads, high_table, low_table, low_bits, table):
    mask = (1 << low_bits) - 1
    begin, end = part_of(worker, threads, table.shape[0])
    for d in range(begin, end):
        table[d] = round_shift(high_table[d >> low_bits] * low_table[d & mask], 24)


@kernel
def exponentials(high_table, low_table, low_bits, table):
    """Write ``table[d] = round_shift(high_table[d >> low_bits] * low_table[d & mask], 24)``, int32."""
    share(_exponentials, team_size(), (high_table, low_table, low_bits, table))


@helper
def _largest(x):
    largest = x[0]
    for i in range(1, x.shape[0]):
        largest = max(largest, x[i])
    return largest


def _plain_weigh(x, largest, table, weights):
    weights[:] = table[largest - x.astype(np.int64)]


@lane_intrinsic(_plain_weigh)
def _weigh(typing_context, x, largest, table, weights):
    """Write the exponential of every element less the largest one."""

    def emit(step):
        distance = step.builder.sub(step.scalar(1, LANE), step.load(0, LANE))
        step.store(3, step.entries(2, distance))

    return lane_loop(16, emit, x, largest, table, weights)


@helper
def _sum(weights):
    total = np.int64(0)
    for i in range(weights.shape[0]):
        total += np.int64(weights[i])
    return total


def _plain_divide(weights, reciprocal, half, places, total, bits, top, codes):
    quotients = (weights * reciprocal + half) >> places
    rest = (weights.astype(np.int64) << (bits + 1)) + total - quotients * 2 * total
    quotients += rest >= 2 * total
    codes[:] = np.minimum(quotients, top)
    return np.count_nonzero(quotients > top)


@lane_intrinsic(_plain_divide)
def _divide_lanes(typing_context, weights, reciprocal, half, places, total, bits, top, codes):
    """Write quotients by estimates that are short by less than ``2**24``; count what exceeds ``top``."""

    def emit(step):
        builder, narrow = step.builder, ir.VectorType(LANE, step.lanes)
        weight, places = step.load(0, LANE), step.scalar(3, SIZE)
        estimate = builder.add(step.product(weight, step.scalar(1, LANE)), step.scalar(2, SIZE))
        quotient, slot = builder.ashr(estimate, places), cgutils.alloca_once(builder, narrow)
        builder.store(builder.trunc(quotient, narrow), slot)
        most = builder.ashr(builder.add(estimate, filled(places.type, 1 << 24)), places)
        doubtful = builder.bitcast(builder.icmp_signed("!=", most, quotient), ir.IntType(step.lanes))
        # Few are that close below an integer.
        with builder.if_then(builder.icmp_unsigned("!=", doubtful, doubtful.type(0)), likely=False):
            one, total = filled(places.type, 1), step.scalar(4, SIZE)
            divisor, bits = builder.shl(total, one), builder.add(step.scalar(5, SIZE), one)
            numerator = builder.add(builder.shl(builder.sext(weight, places.type), bits), total)
            rest = builder.sub(numerator, builder.mul(quotient, divisor))
            more = builder.zext(builder.icmp_signed(">=", rest, divisor), narrow)
            builder.store(builder.add(builder.load(slot), more), slot)
        quotient, top = builder.load(slot), step.scalar(6, LANE)
        clipped = builder.icmp_signed(">", quotient, top)
        step.store(7, builder.select(clipped, top, quotient))
        return clipped

    return lane_loop(16, emit, weights, reciprocal, half, places, total, bits, top, codes)


@helper
def _divide(weights, total, bits, top, codes):
    """``min(top, (e * 2**(bits+1) + S) // (2 S))`` by the reciprocal ``R = 2**54 // S``, of 30 bits at most.

    ``e * R`` is short of ``2**54 * e / S`` by less than ``e``, at most ``2**24``: with half an integer added,
    ``54 - bits`` places give the quotient, or one less where ``2**24`` more would give another one.
    """
    places = 54 - bits
    reciprocal, half = (np.int64(1) << 54) // total, np.int64(1) << (places - 1)
    return _divide_lanes(weights, reciprocal, half, places, total, bits, top, codes)


@helper
def _softmax(worker, threads, x, table, bits, codes):
    top, saturated, n = (np.int64(1) << bits) - 1, np.int64(0), x.shape[1]
    weights = np.empty(n, np.int32)
    begin, end = part_of(worker, threads, x.shape[0])
    for row in range(begin, end):
        source = elements(x, row * n, n)
        _weigh(source, np.int64(_largest(source)), table, weights)
        saturated += _divide(weights, _sum(weights), bits, top, elements(codes, row * n, n))
    return saturated


@kernel
def softmax(x, table, bits, codes):
    """Write the softmax of each row of ``x [rows, n]`` as unsigned ``bits``-bit probabilities.

    ``e = table[max - x]``, 24 fractional bits, then ``p = min(2**bits - 1, (e * 2**(bits+1) + S) // (2 S))``:
    the division rounds half up. ``S >= 2**24``, because the largest element weighs ``2**24``; ``bits <= 16``.
    Returns the number of saturated codes.
    """
    return share(_softmax, team_size(), (x, table, bits, codes))
