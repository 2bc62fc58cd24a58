"""Inner loops: copied runs, unpacked and widened weights, rescaled blocks; nothing else is touched."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from hqsim.kernels.vector import copy_runs, rescale_block, unpack_nibbles, widen
from tests import naive

LIMITS = (-1000, 900)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 600])
@pytest.mark.parametrize("flip", [0, 128, 255])
def test_copy_runs(count: int, flip: int) -> None:
    """Some runs begin at the first or end at the last byte, some overlap, some are padding."""
    source = np.random.default_rng(count).integers(0, 256, 1100).astype(np.uint8)
    firsts, fill = np.array([17, 0, -1, 1100 - count, 18, -(10**12), 17, 333]), 77
    target = np.full((9, 700), 99, np.uint8)
    copy_runs(source, firsts, 7, count, np.uint8(flip), np.uint8(fill), target, 31)
    for row, first in enumerate(firsts[:7].tolist()):
        run = [int(byte) ^ flip for byte in source[first : first + count]] if first >= 0 else [fill] * count
        assert target[row, 31 : 31 + count].tolist() == run
    assert (target[:, :31] == 99).all()
    assert (target[:, 31 + count :] == 99).all()
    assert (target[7:] == 99).all()


def test_no_row_is_copied() -> None:
    target = np.full((2, 70), 99, np.uint8)
    copy_runs(np.zeros(70, np.uint8), np.zeros(2, np.int64), 0, 65, np.uint8(0), np.uint8(0), target, 3)
    assert (target == 99).all()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_unpack_nibbles(steps: int) -> None:
    packed = np.random.default_rng(steps).integers(0, 256, 64 * (steps + 2)).astype(np.uint8)
    packed[64:70] = [0x00, 0xFF, 0x0F, 0xF0, 0x78, 0x87]
    target = np.full(128 * (steps + 1), 99, np.uint8)
    unpack_nibbles(packed, 64, steps, target)
    expected = []
    for step in range(1, steps + 1):
        pairs = packed[64 * step : 64 * step + 64].tolist()
        expected += [pair % 16 - 8 for pair in pairs] + [pair // 16 - 8 for pair in pairs]
    assert target.view(np.int8)[: 128 * steps].tolist() == expected
    assert (target[128 * steps :] == 99).all()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_widen(steps: int) -> None:
    packed = np.random.default_rng(steps).integers(0, 256, 128 * (steps + 2)).astype(np.uint8)
    packed[128:132] = [0x00, 0x7F, 0x80, 0xFF]
    target = np.full(256 * (steps + 1), 99, np.uint8)
    widen(packed, 128, steps, target)
    expected = []
    for step in range(1, steps + 1):
        lane = packed.view(np.int8)[128 * step : 128 * step + 128].tolist()
        expected += lane[0::2] + lane[1::2]
    assert target.view(np.int16)[: 128 * steps].tolist() == expected
    assert (target[256 * steps :] == 99).all()


def run_rescale(
    sums: np.ndarray,
    scaling: tuple[np.ndarray, ...],
    limits: tuple[int, int],
    shape: tuple[int, int],
    left: int,
) -> tuple[np.ndarray, list[int]]:
    """Codes of ``shape`` with a block from column ``left`` on, the rest 99; and what was observed."""
    codes, observed = np.full(shape, 99, np.int16), np.array([0, 2**31, -(2**31)])
    numbers = (np.int64(limit) for limit in limits)
    rescale_block(sums, shape[0], *scaling, *numbers, codes, left, observed)
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
    rescale_block(sums, 2, one, none, none, *limits, codes, 0, observed)
    assert observed.tolist() == [7 + 27, -3, 37]
    rescale_block(sums - np.int32(50), 1, one, none, none, *limits, codes[:1], 0, observed)
    assert observed.tolist() == [34 + 20, -52, 37]
    rescale_block(sums, 0, one, none, none, *limits, codes[:0], 0, observed)
    assert observed.tolist() == [54, -52, 37]
