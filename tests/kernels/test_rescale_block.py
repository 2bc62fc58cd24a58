"""Rescaled blocks of sums, in 32 and in 64 bits, against rationals; nothing beside a block is touched."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from hqsim.kernels.rescale_block import reach_of, rescale_block
from tests import naive

LIMITS = (-1000, 900)
WIDE = np.int64(0)


def run_rescale(
    sums: np.ndarray,
    scaling: tuple[np.ndarray, ...],
    limits: tuple[int, int],
    shape: tuple[int, int],
    left: int,
    reach: np.int64 = WIDE,
) -> tuple[np.ndarray, list[int]]:
    """Codes of ``shape`` with a block from column ``left`` on, the rest 99; and what was observed."""
    codes, observed = np.full(shape, 99, np.int16), np.array([0, 2**31, -(2**31)])
    numbers = (np.int64(limit) for limit in limits)
    block = codes[:, left : left + len(scaling[0])]
    rescale_block(sums, shape[0], *scaling, reach, *numbers, block, observed)
    return codes, observed.tolist()


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 32, 50, 64])
@pytest.mark.parametrize("rows", [1, 2, 13])
@pytest.mark.parametrize("left", [0, 5, 32])
@pytest.mark.parametrize("reach", [100, 2**29, 2**31])
def test_rescale_block(columns: int, rows: int, left: int, reach: int) -> None:
    """Rows and columns beside the block, of the sums and of the codes, are neither seen nor touched."""
    rng = np.random.default_rng(columns)
    sums = rng.integers(-reach, reach, (rows + 1, columns + 3)).astype(np.int32)
    totals = sums[:rows, :columns].copy()
    sums[rows], sums[:, columns:] = 2**31 - 1, -(2**31)
    factor = rng.integers(2**14, 2**15, columns, dtype=np.int32)
    shift = rng.integers(14, 40, columns)
    bias = rng.integers(-(2**10), 2**10, columns)
    addend = (bias << (shift - 8)) + (np.int64(1) << (shift - 1))
    codes, observed = run_rescale(sums, (factor, addend, shift), LIMITS, (rows, left + columns + 2), left)
    biases = [Fraction(int(value), 2**8) for value in bias]
    expected, saturated = naive.requantize(
        totals.reshape(rows, columns, 1), factor.tolist(), shift.tolist(), biases, *LIMITS
    )
    assert codes[:, left : left + columns].tolist() == expected[..., 0].tolist()
    assert (codes[:, :left] == 99).all()
    assert (codes[:, left + columns :] == 99).all()
    assert observed == [saturated, totals.min(), totals.max()]


@pytest.mark.parametrize("columns", [5, 16, 33])
def test_extreme_sums_and_factors(columns: int) -> None:
    """-2**31 and 2**31 - 1 times factors of either sign at the ends of 32 bits."""
    ends = -(2**31), 2**31 - 1
    totals = np.array([[ends[(row + column) % 2] for column in range(columns)] for row in range(4)], np.int32)
    factor = np.array([ends[column // 2 % 2] for column in range(columns)], np.int32)
    addend = np.array([(-1) ** column * 2**61 for column in range(columns)])
    shift = np.full(columns, 47)
    codes, observed = run_rescale(totals, (factor, addend, shift), (-32768, 32767), (4, columns), 0)
    values = [
        [(int(totals[row, j]) * int(factor[j]) + int(addend[j])) // 2**47 for j in range(columns)]
        for row in range(4)
    ]
    assert codes.tolist() == [[min(max(value, -32768), 32767) for value in row] for row in values]
    clipped = sum(not -32768 <= value <= 32767 for row in values for value in row)
    assert observed == [clipped, *ends]


def test_what_is_observed_joins_what_was() -> None:
    one, none = np.ones(20, np.int32), np.zeros(20, np.int64)
    codes, observed = np.empty((2, 20), np.int16), np.array([7, -3, 12])
    limits = np.int64(-10), np.int64(10)
    sums = np.arange(-2, 38, dtype=np.int32).reshape(2, 20)
    rescale_block(sums, 2, one, none, none, WIDE, *limits, codes, observed)
    assert observed.tolist() == [7 + 27, -3, 37]
    rescale_block(sums - np.int32(50), 1, one, none, none, WIDE, *limits, codes[:1], observed)
    assert observed.tolist() == [34 + 20, -52, 37]
    rescale_block(sums, 0, one, none, none, WIDE, *limits, codes[:0], observed)
    assert observed.tolist() == [54, -52, 37]


@pytest.mark.parametrize("columns", [1, 16, 33])
@pytest.mark.parametrize("places", [1, 9, 13, 14, 20])
@pytest.mark.parametrize("high", [2**15 - 1, 127, 7])
def test_32_bits_where_they_are_enough(columns: int, places: int, high: int) -> None:
    """Sums around every threshold of a column, and at the ends of 32 bits, far beyond the reach."""
    rng = np.random.default_rng(places)
    factor = rng.integers(2**14, 2**15, columns, dtype=np.int32)
    addend = rng.integers(-(high << places), high << places, columns) + (1 << places - 1)
    shift = rng.integers(1, places, columns, endpoint=True)
    low = -high - 1
    reach = reach_of(factor, addend, shift, np.int64(low), np.int64(high))
    if high << places < 2**28:
        assert reach > 0
    edges = [((np.array([[low], [high + 1]]) << shift) - addend) // factor + near for near in (-1, 0, 1)]
    ends = np.full((4, columns), [[-(2**31)], [2**31 - 1], [-reach - 1], [reach + 1]])
    totals = np.concatenate([*edges, ends, rng.integers(-(2**20), 2**20, (9, columns))])
    sums = totals.clip(-(2**31), 2**31 - 1).astype(np.int32)
    codes, observed = run_rescale(sums, (factor, addend, shift), (low, high), sums.shape, 0, reach)
    values = [
        [
            (int(total) * int(m) + int(a)) >> int(s)
            for total, m, a, s in zip(row, factor, addend, shift, strict=True)
        ]
        for row in sums
    ]
    assert codes.tolist() == [[min(max(value, low), high) for value in row] for row in values]
    clipped = sum(not low <= value <= high for row in values for value in row)
    assert observed == [clipped, sums.min(), sums.max()]


@pytest.mark.parametrize(
    ("factor", "addend", "places"),
    [(0, 0, 9), (-(2**14), 0, 9), (2**14, 0, 31), (2**14, 2**31, 9), (1, 0, 16)],
)
def test_64_bits_otherwise(factor: int, addend: int, places: int) -> None:
    """Nothing saturates, or 32 bits would overflow."""
    numbers = np.array([factor], np.int32), np.array([addend]), np.array([places])
    assert reach_of(*numbers, np.int64(-32768), np.int64(32767)) == 0
