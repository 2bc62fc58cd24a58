"""The obvious implementation of everything that has a fast one: Python integers and loops.

Nothing here imports hqsim. Arrays come in as numpy integers of any width and go out as int64 (``codes``),
computed in Python integers, which neither wrap nor round. Functions that clamp return ``(codes, saturated)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import numpy as np


def round_half_up(x: Fraction | int) -> int:
    """``floor(x + 1/2)``."""
    return math.floor(x + Fraction(1, 2))


def shifted(x: int, shift: int) -> int:
    """``x * 2**-shift``, rounded half up."""
    return round_half_up(Fraction(x) / Fraction(2) ** shift)


def clamp_all(values: np.ndarray, low: int, high: int) -> tuple[np.ndarray, int]:
    """Clamp an object array of Python integers; count what changed."""
    flat = [int(value) for value in values.ravel()]
    codes = [min(max(value, low), high) for value in flat]
    saturated = sum(value != code for value, code in zip(flat, codes, strict=True))
    return np.array(codes, np.int64).reshape(values.shape), saturated


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``[count, m, k] @ [count or 1, k, n]``."""
    sums = np.empty((a.shape[0], a.shape[1], b.shape[2]), object)
    for c, i, j in _indices(sums):
        right = b[0 if b.shape[0] == 1 else c]
        sums[c, i, j] = sum(int(a[c, i, k]) * int(right[k, j]) for k in range(a.shape[2]))
    return sums.astype(np.int64)


def matmul_saturate(a: np.ndarray, b: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
    """``[count, m, k] @ [count, k, n]``, clamped to ``bits`` bits after every term; and how often."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    sums = np.empty((a.shape[0], a.shape[1], b.shape[2]), object)
    events = 0
    for c, i, j in _indices(sums):
        total = 0
        for k in range(a.shape[2]):
            exact = total + int(a[c, i, k]) * int(b[c, k, j])
            total = min(max(exact, low), high)
            events += total != exact
        sums[c, i, j] = total
    return sums.astype(np.int64), events


def conv2d(x: np.ndarray, weight: np.ndarray, stride: int, padding: tuple[int, int, int, int]) -> np.ndarray:
    """``[b, c, h, w]`` with ``[o, c, kh, kw]``; zero padding (top, left, bottom, right)."""
    batch, channels, height, width = x.shape
    outputs, _, kh, kw = weight.shape
    top, left, bottom, right = padding
    height_out = (height + top + bottom - kh) // stride + 1
    width_out = (width + left + right - kw) // stride + 1
    sums = np.empty((batch, outputs, height_out, width_out), object)
    for b, o, y, z in _indices(sums):
        total = 0
        for c, i, j in product(range(channels), range(kh), range(kw)):
            row, column = y * stride + i - top, z * stride + j - left
            if 0 <= row < height and 0 <= column < width:
                total += int(x[b, c, row, column]) * int(weight[o, c, i, j])
        sums[b, o, y, z] = total
    return sums.astype(np.int64)


def hadamard(n: int) -> list[list[int]]:
    """Sylvester's matrix by its other definition: ``(-1)**popcount(i & j)``."""
    return [[(-1) ** (i & j).bit_count() for j in range(n)] for i in range(n)]


def rudin_shapiro(n: int) -> list[int]:
    """``(-1)**(number of, possibly overlapping, '11' in binary)``."""
    words = [f"{i:b}" for i in range(n)]
    return [(-1) ** sum(word[i : i + 2] == "11" for i in range(len(word))) for word in words]


def transform(x: np.ndarray, signs: list[int], *, inverse: bool = False) -> np.ndarray:
    """Block transform of ``[outer, length, inner]`` along ``length``: ``(signs x) H`` or ``signs (x H)``."""
    n = len(signs)
    matrix = hadamard(n)
    out = np.empty(x.shape, object)
    for o, position, i in _indices(out):
        start, j = position // n * n, position % n
        block = [int(x[o, start + k, i]) for k in range(n)]
        if inverse:
            out[o, position, i] = signs[j] * sum(block[k] * matrix[k][j] for k in range(n))
        else:
            out[o, position, i] = sum(signs[k] * block[k] * matrix[k][j] for k in range(n))
    return out


def quantize_blocks(
    x: np.ndarray, signs: list[int], multiplier: int, shift: int, low: int, high: int
) -> tuple[np.ndarray, int]:
    """Transform forward, rescale, clamp."""
    spread = transform(x, signs)
    values = np.empty(x.shape, object)
    for index in _indices(values):
        values[index] = shifted(spread[index] * multiplier, shift)
    return clamp_all(values, low, high)


def requantize(
    sums: np.ndarray, multiplier: list[int], shift: list[int], bias: list[Fraction], low: int, high: int
) -> tuple[np.ndarray, int]:
    """``sums [outer, channels, inner]``; ``bias`` is in output codes."""
    values = np.empty(sums.shape, object)
    for o, c, i in _indices(values):
        exact = Fraction(int(sums[o, c, i]) * multiplier[c], 2 ** shift[c]) + bias[c]
        values[o, c, i] = round_half_up(exact)
    return clamp_all(values, low, high)


def add_rescaled(
    a: np.ndarray, b: np.ndarray, multiplier_a: int, multiplier_b: int, shift: int, low: int, high: int
) -> tuple[np.ndarray, int]:
    """``[outer, inner]`` each; ``b`` may have one column."""
    values = np.empty(a.shape, object)
    for row, i in _indices(values):
        other = b[row, i if b.shape[1] > 1 else 0]
        values[row, i] = shifted(int(a[row, i]) * multiplier_a + int(other) * multiplier_b, shift)
    return clamp_all(values, low, high)


def gate(
    x: np.ndarray,
    table: list[int],
    table_bits: int,
    address: tuple[int, int],
    factor: tuple[int, int],
    low: int,
    high: int,
) -> tuple[np.ndarray, int]:
    """``x * g(x)`` by a 513-entry table of ``1 - g(|x|)``, linear between entries that are 128 apart."""
    values = np.empty(x.shape, object)
    for (i,) in _indices(values):
        code = int(x[i])
        place = min(shifted(abs(code) * address[0], address[1]), 65535)
        left, part = divmod(place, 128)
        complement = table[left] * (128 - part) + table[left + 1] * part
        weight = complement if code < 0 else 128 * 2**table_bits - complement
        values[i] = shifted(code * weight * factor[0], factor[1])
    return clamp_all(values, low, high)


def normalize(
    x: np.ndarray,
    fraction: int,
    epsilon: int,
    gain: np.ndarray,
    gain_bits: int,
    offset: np.ndarray,
    low: int,
    high: int,
) -> tuple[np.ndarray, int]:
    """NUMERICS.md section 6, row by row; row ``r`` takes gains and offsets of group ``r % groups``."""
    values = np.empty(x.shape, object)
    for row in range(x.shape[0]):
        codes = [int(code) for code in x[row].ravel()]
        n = len(codes)
        mean = (2 * sum(codes) * 2**fraction + n) // (2 * n)
        spread = max(1, sum((code * 2**fraction - mean) ** 2 for code in codes) + epsilon)
        h = 0
        while spread << h < 2**60:
            h += 2
        assert 2**60 <= spread << h < 2**62
        inverse = 2**54 // math.isqrt(spread << h)
        for c, i in _indices(x[row]):
            d = int(x[row, c, i]) * 2**fraction - mean
            t = shifted(d * inverse, 24 - h // 2)
            group = row % gain.shape[0]
            total = t * int(gain[group, c]) + int(offset[group, c]) * 2 ** (30 + gain_bits - 16)
            values[row, c, i] = shifted(total, 30 + gain_bits)
    return clamp_all(values, low, high)


def softmax(
    x: np.ndarray, high_table: list[int], low_table: list[int], low_bits: int, bits: int
) -> tuple[np.ndarray, int]:
    """Each row of ``[rows, n]``: two tables and one division that rounds half up."""
    values = np.empty(x.shape, object)
    for row in range(x.shape[0]):
        codes = [int(code) for code in x[row]]
        distances = [divmod(max(codes) - code, 2**low_bits) for code in codes]
        weights = [shifted(high_table[upper] * low_table[lower], 24) for upper, lower in distances]
        for i, weight in enumerate(weights):
            values[row, i] = round_half_up(Fraction(weight * 2**bits, sum(weights)))
    return clamp_all(values, 0, 2**bits - 1)


def _indices(array: np.ndarray) -> Iterator[tuple[int, ...]]:
    return iter(np.ndindex(array.shape))
