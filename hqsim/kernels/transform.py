"""±1 butterflies: the forward transform fused with the operand quantizer, and the integer inverse.

Arrays are viewed as ``[outer, length, inner]``; the transform runs along ``length`` in blocks of
``2**order``: in 64 neighbouring lanes of ``inner`` at a time, or, when ``inner`` is 1, along rows that hold
their blocks one after another. Butterflies are exact and grow codes by ``order`` bits.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.scalar import clamp
from hqsim.kernels.vector import butterflies

LANES = 64
ROW = 32
"""Elements of a row that are transformed in registers."""


@helper
def _butterflies(block):
    """Transform ``block [2**order, LANES]`` int32 in place by the un-normalised Sylvester-Hadamard matrix."""
    n = block.shape[0]
    half = 1
    while half < n:
        for start in range(0, n, 2 * half):
            for i in range(start, start + half):
                _butterfly(block[i], block[i + half])
        half *= 2


@helper
def _butterfly(upper, lower):
    """Of ``LANES`` elements: a constant, so that the loop becomes a few vectors."""
    for j in range(LANES):
        a, b = upper[j], lower[j]
        upper[j] = a + b
        lower[j] = a - b


@helper
def _row_butterfly(upper, lower):
    for j in range(ROW):
        a, b = upper[j], lower[j]
        upper[j] = a + b
        lower[j] = a - b


@helper
def _row_butterflies(row, n):
    """Transform the blocks of ``n`` that follow each other in ``row`` int32, a multiple of 32 long."""
    butterflies(row, min(n, ROW))
    half = ROW
    while half < n:
        for start in range(0, row.shape[0], 2 * half):
            for i in range(start, start + half, ROW):
                _row_butterfly(row[i : i + ROW], row[i + half : i + half + ROW])
        half *= 2


@helper
def _centre(x, zero, target):
    for j in range(x.shape[0]):
        target[j] = np.int32(x[j]) - zero


@helper
def _sign(values, sign):
    for j in range(values.shape[0]):
        values[j] *= sign


@helper
def _sign_each(values, signs):
    for j in range(values.shape[0]):
        values[j] *= signs[j]


@helper
def _rescale(values, factor, half, shift, zero, low, high, target):
    clipped = np.int64(0)
    for j in range(target.shape[0]):
        value = ((np.int64(values[j]) * factor + half) >> shift) + zero
        code = clamp(value, low, high)
        clipped += value != code
        target[j] = code
    return clipped


@kernel
def quantize_transformed(x, signs, multiplier, shift, zero, low, high, codes):
    """Transform carrier codes and quantize; return the number of saturated codes.

    ``clamp(floor(FWHT(signs * x) * multiplier / 2**shift + 1/2) + zero, low, high)``. ``x`` and ``codes`` are
    ``[outer, length, inner]``, contiguous; ``signs`` int32 ``[2**order]``; ``shift`` in [0, 62].
    """
    outer, length, inner = x.shape
    n = signs.shape[0]
    half = (np.int64(1) << shift) >> 1
    saturated = np.int64(0)
    if inner == 1:
        padded = (length + max(n, ROW) - 1) // max(n, ROW) * max(n, ROW)
        row_signs = np.empty(length, np.int32)
        for i in range(length):
            row_signs[i] = signs[i % n]
        for row in prange(outer):
            values = np.zeros(padded, np.int32)
            _centre(x[row, :, 0], np.int32(0), values)
            _sign_each(values[:length], row_signs)
            _row_butterflies(values, n)
            saturated += _rescale(values, multiplier, half, shift, zero, low, high, codes[row, :, 0])
        return saturated
    blocks, groups = length // n, (inner + LANES - 1) // LANES
    for unit in prange(outer * blocks * groups):
        row, start = unit // (blocks * groups), unit // groups % blocks * n
        first = unit % groups * LANES
        lanes = slice(first, min(first + LANES, inner))
        block = np.zeros((n, LANES), np.int32)
        for i in range(n):
            _centre(x[row, start + i, lanes], np.int32(0), block[i])
            _sign(block[i], signs[i])
        _butterflies(block)
        clipped = np.int64(0)
        for i in range(n):
            clipped += _rescale(
                block[i], multiplier, half, shift, zero, low, high, codes[row, start + i, lanes]
            )
        saturated += clipped
    return saturated


@helper
def _store_signed(values, sign, places, target):
    for j in range(target.shape[0]):
        target[j] = (values[j] * sign) >> places


@helper
def _store_bits(values, target):
    for j in range(target.shape[0]):
        target[j] = values[j] & 1


@kernel
def invert_transform(codes, signs, zero, halve, operand, parity):
    """Write the integer inverse ``signs * ((codes - zero) Ĥ)`` (un-normalised) into ``operand``.

    With ``halve`` the operand is ``floor(value / 2)``, one bit narrower. The lost bit, which all values of a
    block share, goes to ``parity`` uint8 ``[outer, length / n, inner]``; when ``inner`` is 1, it goes twice
    to the end of each row of the operand, which is ``2 * length / n`` longer. ``codes`` may be ``operand``
    itself.
    """
    outer, length, inner = codes.shape
    n = signs.shape[0]
    blocks, places = length // n, 1 if halve else 0
    if inner == 1:
        padded = (length + max(n, ROW) - 1) // max(n, ROW) * max(n, ROW)
        row_signs = np.empty(length, np.int32)
        for i in range(length):
            row_signs[i] = signs[i % n]
        for row in prange(outer):
            values = np.zeros(padded, np.int32)
            _centre(codes[row, :, 0], np.int32(zero), values)
            _row_butterflies(values, n)
            _sign_each(values[:length], row_signs)
            _store_signed(values, np.int32(1), places, operand[row, :length, 0])
            if halve:
                _store_bits(values[:length:n], operand[row, length : length + blocks, 0])
                _store_bits(values[:length:n], operand[row, length + blocks :, 0])
        return
    groups = (inner + LANES - 1) // LANES
    for unit in prange(outer * blocks * groups):
        row, start = unit // (blocks * groups), unit // groups % blocks * n
        first = unit % groups * LANES
        lanes = slice(first, min(first + LANES, inner))
        block = np.zeros((n, LANES), np.int32)
        for i in range(n):
            _centre(codes[row, start + i, lanes], np.int32(zero), block[i])
        _butterflies(block)
        for i in range(n):
            _store_signed(block[i], signs[i], places, operand[row, start + i, lanes])
        if halve:
            _store_bits(block[0], parity[row, start // n, lanes])
