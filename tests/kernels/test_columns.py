"""Loops over strips of columns: around every width of a strip, codes of any type, nothing else touched."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from hqsim.kernels.group_norm import _add_moments
from hqsim.kernels.normalize import normalize_by_column, normalize_by_row
from tests import naive

COLUMNS = [1, 15, 16, 17, 31, 32, 50, 65]
CODES = [np.int8, np.uint8, np.int16, np.uint16]


def random(dtype: Any, rows: int, columns: int) -> np.ndarray:
    """Codes of a type, its ends among them, in rows that lie apart."""
    limits = np.iinfo(dtype)
    room = np.random.default_rng(columns).integers(limits.min, limits.max, (rows, columns + 5), dtype, True)
    room[:, 2] = limits.min
    return room[:, 2 : 2 + columns]


@numba.njit
def run_moments(count, sums, squares, x):
    _add_moments(count, sums, squares, x)


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("rows", [0, 1, 2, 7])
@pytest.mark.parametrize("dtype", [*CODES, np.int32])
def test_moments(dtype: Any, rows: int, columns: int) -> None:
    """Squares of 58 bits; they are added to what was there."""
    x = random(dtype, rows, columns) >> (2 if dtype is np.int32 else 0)
    room = np.full((2, columns + 4), 99)
    run_moments(np.int64(rows), room[0, 2:-2], room[1, 2:-2], x)
    for power, found in enumerate(room, 1):
        assert found[2:-2].tolist() == [99 + sum(int(q) ** power for q in column) for column in x.T]
        assert {*found[:2], *found[-2:]} == {99}


@pytest.mark.parametrize("code", [-(2**15), 2**15 - 1, 2**16 - 1])
def test_moments_of_as_many_rows_as_fit(code: int) -> None:
    """2**14 rows of the largest codes."""
    x = np.full((2**14, 33), code, np.int16 if code < 2**15 else np.uint16)
    sums, squares = np.zeros(33, np.int64), np.zeros(33, np.int64)
    run_moments(np.int64(2**14), sums, squares, x)
    assert set(sums.tolist()) == {code * 2**14}
    assert set(squares.tolist()) == {code**2 * 2**14}


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("bits", [17, 31, 32, 37])
@pytest.mark.parametrize("source", [np.int8, np.int16])
@pytest.mark.parametrize("target", [np.int8, np.int16, np.int32])
@pytest.mark.parametrize("by_row", [False, True])
def test_normalized(by_row: bool, target: Any, source: Any, bits: int, columns: int) -> None:
    """Of other numbers in every column or row; ``t`` reaches 2**30, gains 2**23."""
    rows, fraction = 3, 6
    rng, limits = np.random.default_rng(columns), np.iinfo(target)
    low, high = limits.min // 2, limits.max // 2
    x = random(source, rows, columns)
    of = rows if by_row else columns
    mean = rng.integers(-(2**15), 2**15, of)
    shift = rng.integers(0, 14, of)
    distance = np.abs((x.astype(np.int64) << fraction) - (mean[:, None] if by_row else mean))
    inverse = np.minimum((2**30 << shift) // np.maximum(distance.max(axis=int(by_row)), 1), 2**30)
    gain = rng.integers(-(2**23), 2**23, columns)
    addend = rng.integers(-(2**50), 2**50, columns)
    scaling, rounding = np.array([mean, inverse], np.int32), np.array([(1 << shift) >> 1, shift])
    room, saturated = np.full((rows, columns + 4), 99, target), np.array([5])
    run = normalize_by_row if by_row else normalize_by_column
    numbers = (np.int64(number) for number in (fraction, bits, low, high))
    run(
        np.int64(rows),
        gain.astype(np.int32),
        addend,
        scaling,
        rounding,
        *numbers,
        x,
        room[:, 2:-2],
        saturated,
    )
    values = np.empty((rows, columns), object)
    for i, j in np.ndindex(rows, columns):
        at = i if by_row else j
        t = naive.shifted((int(x[i, j]) * 2**fraction - int(mean[at])) * int(inverse[at]), int(shift[at]))
        assert abs(t) <= 2**30
        values[i, j] = (t * int(gain[j]) + int(addend[j])) // 2**bits
    expected, clipped = naive.clamp_all(values, low, high)
    assert room[:, 2:-2].tolist() == expected.tolist()
    assert saturated.tolist() == [5 + clipped]
    assert {*room[:, :2].ravel(), *room[:, -2:].ravel()} == {99}
