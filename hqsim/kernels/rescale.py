"""Rescales, one multiply, one shift, one rounding: of codes, a sum of two, sums of products; and look-ups.

Kernels work on flat arrays in pieces of ``CHUNK`` elements, whatever their shape was.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.scalar import clamp

CHUNK = 4096


@helper
def half_of(shift):
    """Return what makes an arithmetic shift by ``shift`` round half up (0 for a shift to the left)."""
    return (np.int64(1) << max(shift, np.int64(0))) >> 1


@helper
def _rescale(x, multiplier, offset, right, left, low, high, codes):
    clipped = np.int64(0)
    for i in range(x.shape[0]):
        value = ((np.int64(x[i]) * multiplier + offset) << left) >> right
        code = clamp(value, low, high)
        clipped += np.int64(value != code)
        codes[i] = code
    return clipped


@kernel
def rescale(x, multiplier, shift, offset, low, high, codes):
    """Write ``clamp(round_shift(x * multiplier + offset, shift))`` for ``x [n]``; return what saturated."""
    right, left = max(shift, np.int64(0)), max(-shift, np.int64(0))
    total = offset + half_of(shift)
    saturated = 0
    for chunk in prange((x.shape[0] + CHUNK - 1) // CHUNK):
        part = slice(chunk * CHUNK, chunk * CHUNK + CHUNK)
        saturated += _rescale(x[part], multiplier, total, right, left, low, high, codes[part])
    return saturated


@helper
def _add(a, b, multiplier_a, multiplier_b, half, right, left, low, high, codes):
    clipped = np.int64(0)
    for i in range(a.shape[0]):
        total = np.int64(a[i]) * multiplier_a + np.int64(b[i]) * multiplier_b
        value = ((total + half) << left) >> right
        code = clamp(value, low, high)
        clipped += np.int64(value != code)
        codes[i] = code
    return clipped


@kernel
def add_rescaled(a, b, multiplier_a, multiplier_b, shift, low, high, codes):
    """Write ``clamp(round_shift(a * multiplier_a + b * multiplier_b, shift))`` for ``a [n]`` and ``b [n]``.

    Returns the number of saturated codes.
    """
    right, left = max(shift, np.int64(0)), max(-shift, np.int64(0))
    half = half_of(shift)
    saturated = 0
    for chunk in prange((a.shape[0] + CHUNK - 1) // CHUNK):
        part = slice(chunk * CHUNK, chunk * CHUNK + CHUNK)
        saturated += _add(
            a[part], b[part], multiplier_a, multiplier_b, half, right, left, low, high, codes[part]
        )
    return saturated


@helper
def _add_product(sums, factor, total):
    for i in range(sums.shape[0]):
        total[i] += sums[i] * factor[i]


@helper
def _shift_row(total, shift, low, high, codes):
    clipped = np.int64(0)
    for i in range(total.shape[0]):
        value = total[i] >> shift[i]
        code = clamp(value, low, high)
        clipped += np.int64(value != code)
        codes[i] = code
    return clipped


@kernel
def rescale_sums(sums, factor, addend, shift, low, high, codes):
    """Rescale sums of products to ``codes [rows, columns]``; return the number of saturated codes.

    ``clamp((sum_g sums[g] * factor[g] + addend) >> shift)`` with ``sums`` int64 ``[segments, rows,
    columns]``, ``factor`` int64 ``[segments, columns]``, ``addend`` (bias and rounding) and ``shift`` int64
    ``[columns]``: one rounding.
    """
    segments, rows, _ = sums.shape
    saturated = 0
    for row in prange(rows):
        total = addend.copy()
        for segment in range(segments):
            _add_product(sums[segment, row], factor[segment], total)
        saturated += _shift_row(total, shift, low, high, codes[row])
    return saturated


@helper
def _look_up(x, first, table, codes):
    saturated = np.int64(0)
    for i in range(x.shape[0]):
        entry = table[np.uint32(np.int32(x[i]) - first)]
        codes[i] = entry >> 1
        saturated += np.int64(entry & 1)
    return saturated


@kernel
def look_up(x, first, table, codes):
    """Write a function of narrow codes ``x [n]`` by a table of all of them; return what saturated.

    ``table`` int32: entry ``x - first`` holds twice the result, plus one where it saturated; ``first`` int32.
    """
    saturated = 0
    for chunk in prange((x.shape[0] + CHUNK - 1) // CHUNK):
        part = slice(chunk * CHUNK, chunk * CHUNK + CHUNK)
        saturated += _look_up(x[part], first, table, codes[part])
    return saturated
