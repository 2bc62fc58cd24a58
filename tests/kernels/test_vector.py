"""Inner loops: copies of any length, unpacked and widened weights, rescaled rows; nothing else is touched."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from hqsim.kernels.vector import copy_run, rescale_row, unpack_nibbles, widen
from tests import naive

LIMITS = (-1000, 900)


@pytest.mark.parametrize("count", [0, 1, 5, 63, 64, 65, 127, 128, 129, 1000])
@pytest.mark.parametrize("flip", [0, 128, 255])
def test_copy_run(count: int, flip: int) -> None:
    source = np.random.default_rng(count).integers(0, 256, 1100).astype(np.uint8)
    target = np.full((2, 700), 99, np.uint8)
    copy_run(source, 17, count, np.uint8(flip), target, 31)
    flat = target.reshape(-1)
    assert flat[31 : 31 + count].tolist() == [int(byte) ^ flip for byte in source[17 : 17 + count]]
    assert (flat[:31] == 99).all()
    assert (flat[31 + count :] == 99).all()


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


@pytest.mark.parametrize("count", [1, 15, 16, 17, 32, 50])
@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("reach", [100, 2**29])
def test_rescale_row(count: int, halved: bool, reach: int) -> None:
    rng = np.random.default_rng(count)
    sums = rng.integers(-reach, reach, count + 3).astype(np.int32)
    corrections = rng.integers(-reach, reach, count).astype(np.int32)
    halves = rng.integers(-500, 500, count if halved else 0).astype(np.int32)
    factor = rng.integers(2**14, 2**15, count, dtype=np.int32)
    shift = rng.integers(14, 40, count)
    bias = rng.integers(-(2**10), 2**10, count)
    addend = (bias << (shift - 8)) + (np.int64(1) << (shift - 1))
    totals = sums[:count].astype(np.int64) - corrections
    if halved:
        totals = 2 * totals + halves
    if halved and reach > 2**28:
        totals = totals.astype(np.int32).astype(np.int64)
    codes, observed = np.full(count, 99, np.int16), np.zeros(3, np.int64)
    limits = tuple(np.int64(limit) for limit in LIMITS)
    rescale_row(sums, corrections, halves, factor, addend, shift, *limits, codes, observed)
    biases = [Fraction(int(value), 2**8) for value in bias]
    expected, saturated = naive.requantize(
        totals.reshape(1, count, 1), factor.tolist(), shift.tolist(), biases, *LIMITS
    )
    assert codes.tolist() == expected.ravel().tolist()
    assert observed.tolist() == [saturated, totals.min(), totals.max()]


def test_what_a_flip_added_may_leave_32_bits() -> None:
    """Sum and correction wrapped alike: their difference does not notice."""
    true = np.array([5, -7] * 10)
    corrections = np.full(20, 2**31 - 3)
    one, none = np.ones(20, np.int32), np.zeros(20, np.int64)
    codes, observed = np.empty(20, np.int16), np.zeros(3, np.int64)
    sums = (true + corrections).astype(np.int32)
    limits = (np.int64(-100), np.int64(100))
    empty = np.empty(0, np.int32)
    rescale_row(sums, corrections.astype(np.int32), empty, one, none, none, *limits, codes, observed)
    assert codes.tolist() == true.tolist()
    assert observed.tolist() == [0, -7, 5]
