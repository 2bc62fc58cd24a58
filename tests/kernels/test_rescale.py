"""Rescales of codes, of sums of two, of sums of products; and look-ups: against Python integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hqsim.kernels.rescale import (
    add_rescaled,
    look_up,
    multiply_rescaled,
    rescale,
    rescale_runs,
    rescale_sums,
)
from tests import naive

I8, I16, I24 = (-128, 127), (-32768, 32767), (-(2**23), 2**23 - 1)


def run_rescale(
    x: np.ndarray,
    factor: tuple[int, int, int],
    limits: tuple[int, int],
    dtype: type = np.int16,
    zero: int = 0,
) -> tuple[np.ndarray, int]:
    codes = np.full(x.shape, 99, dtype)
    saturated = rescale(x, *(np.int64(value) for value in (*factor, zero, *limits)), codes)
    return codes, int(saturated)


@given(st.integers(*I16), st.integers(-(2**15), 2**15), st.integers(-20, 62), st.integers(-(2**40), 2**40))
@example(-32768, 32767, 62, 2**40)
@example(-5, 16384, 15, 0)
@example(3, -7, -20, 9)
def test_rescale(code: int, multiplier: int, shift: int, offset: int) -> None:
    value = naive.shifted(code * multiplier + offset, shift)
    expected, clipped = naive.clamp_all(np.array([value], object), *I16)
    codes, saturated = run_rescale(np.array([code], np.int16), (multiplier, shift, offset), I16)
    assert codes.tolist() == expected.tolist()
    assert saturated == clipped


@pytest.mark.parametrize("zero", [1, 130, 255, -7])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32])
def test_a_zero_point_is_added_before_the_clamp(zero: int, dtype: type) -> None:
    x = np.random.default_rng(0).integers(-32768, 32768, 50).astype(np.int16)
    x[:2] = I16
    values = np.array([naive.shifted(int(code) * 20000 + 77, 22) + zero for code in x], object)
    expected, clipped = naive.clamp_all(values, 0, 255)
    codes, saturated = run_rescale(x, (20000, 22, 77), (0, 255), dtype, zero)
    assert codes.tolist() == expected.tolist()
    assert saturated == clipped > 0


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32])
def test_codes_of_every_type(dtype: type) -> None:
    limits = np.iinfo(dtype)
    x = np.array([limits.min, limits.min + 1, 0, limits.max - 1, limits.max] * 7, dtype)
    codes, saturated = run_rescale(x, (-(2**31), 31, 0), (-(2**31), 2**31 - 1), np.int32)
    expected, clipped = naive.clamp_all(-x.astype(object), -(2**31), 2**31 - 1)
    assert codes.tolist() == expected.tolist()
    assert saturated == clipped == 7 * (limits.min == -(2**31))


@pytest.mark.parametrize("multiplier", [3, -(2**27), 2**40 + 1])
def test_wide_codes(multiplier: int) -> None:
    """Of 64 bits, on their own and in a sum: more than a vector of them."""
    x = np.random.default_rng(0).integers(-(2**20), 2**20, 37) * 2**13 // max(1, multiplier >> 28)
    x[:2] = -(2**22), 2**22
    codes, saturated = run_rescale(x, (multiplier, 31, 2**40), I24, np.int32)
    values = np.array([naive.shifted(int(code) * multiplier + 2**40, 31) for code in x], object)
    expected, clipped = naive.clamp_all(values, *I24)
    assert codes.tolist() == expected.tolist()
    assert saturated == clipped
    numbers = (np.int64(value) for value in (multiplier, -5, 31, *I24))
    saturated = add_rescaled(x, np.flip(x).copy(), *numbers, codes)
    totals = [int(p) * multiplier - 5 * int(q) for p, q in zip(x, np.flip(x), strict=True)]
    expected, clipped = naive.clamp_all(np.array([naive.shifted(t, 31) for t in totals], object), *I24)
    assert codes.tolist() == expected.tolist()
    assert saturated == clipped


def test_halves_go_up_and_what_leaves_the_range_is_counted() -> None:
    x = np.array([-5, -3, 3, 5, 1000, -1000], np.int16)
    codes, saturated = run_rescale(x, (16384, 15, 0), I8)
    assert codes.tolist() == [-2, -1, 2, 3, 127, -128]
    assert saturated == 2


@pytest.mark.parametrize("length", [1, 15, 4096, 4097])
def test_any_length(length: int) -> None:
    """Every element of every piece, and nothing twice."""
    x = (np.arange(length) - length // 2).astype(np.int16)
    codes, saturated = run_rescale(x, (1, 0, 0), (-length, 1000))
    assert np.array_equal(codes, np.minimum(x, 1000))
    assert saturated == np.count_nonzero(x > 1000)
    total = np.full(length, 99, np.int16)
    ones = [np.int64(value) for value in (1, 1, 0, *I16)]
    assert add_rescaled(x, x, *ones, total) == 0
    assert np.array_equal(total, 2 * x)


@pytest.mark.parametrize(
    ("multiplier_a", "multiplier_b", "shift"),
    [(16384, 30000, 15), (-7000, 32767, 14), (3, -2, -1), (16384, 1, 0)],
)
def test_add(multiplier_a: int, multiplier_b: int, shift: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(-32768, 32768, (2, 20)).astype(np.int16)
    a[:4], b[:4] = [-32768, 32767, -32768, 32767], [-32768, 32767, 32767, -32768]
    codes = np.empty(a.shape, np.int16)
    numbers = (np.int64(value) for value in (multiplier_a, multiplier_b, shift, *I16))
    saturated = add_rescaled(a, b, *numbers, codes)
    expected, clipped = naive.add_rescaled(a[None], b[None], multiplier_a, multiplier_b, shift, *I16)
    assert np.array_equal(codes, expected[0])
    assert saturated == clipped


@pytest.mark.parametrize("multiplier", [2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**36 + 12345, -(2**37)])
@pytest.mark.parametrize("side", [0, 1])
def test_add_with_multipliers_of_and_beyond_32_bits(multiplier: int, side: int) -> None:
    """On either side; 16-bit codes, more than a vector of them."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(-32768, 32768, (2, 37)).astype(np.int16)
    a[:4], b[:4] = [-32768, 32767, -32768, 32767], [-32768, 32767, 32767, -32768]
    factors = (multiplier, 3) if side == 0 else (3, multiplier)
    shift = abs(multiplier).bit_length() - 1
    codes = np.empty(a.shape, np.int32)
    numbers = (np.int64(value) for value in (*factors, shift, -60000, 60000))
    saturated = add_rescaled(a, b, *numbers, codes)
    expected, clipped = naive.add_rescaled(a[None], b[None], *factors, shift, -60000, 60000)
    assert np.array_equal(codes, expected[0])
    assert saturated == clipped


def test_add_of_the_sampler() -> None:
    """x in 24 bits and noise in 16, with the 22-bit factors of a DDIM step near the start of sampling."""
    rng = np.random.default_rng(0)
    x = rng.integers(-(2**23), 2**23, 12).astype(np.int32)
    noise = rng.integers(-32768, 32768, 12).astype(np.int16)
    x[:2], noise[:2] = I24, I16
    factors = (157 << 22, -(157 * 144) << 22, 22)
    codes = np.empty(x.shape, np.int32)
    saturated = add_rescaled(x, noise, *(np.int64(value) for value in (*factors, *I24)), codes)
    expected, clipped = naive.add_rescaled(x[None], noise[None], *factors, *I24)
    assert np.array_equal(codes, expected[0])
    assert saturated == clipped


@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize("bias_bits", [0, 1, 8])
@pytest.mark.parametrize("reach", [2**10, 2**36])
def test_sums_of_segments_are_rounded_once(segments: int, bias_bits: int, reach: int) -> None:
    rng = np.random.default_rng(segments)
    sums = rng.integers(-reach, reach, (segments, 7, 5))
    sums[:, 0, :2] = -reach, reach
    factor = rng.integers(2**14, 2**15, (segments, 5))
    shift = rng.integers(15, 20, 5) + max(0, reach.bit_length() - 8)
    bias = rng.integers(-(2**10), 2**10, 5)
    addend = (bias << (shift - bias_bits)) + (np.int64(1) << (shift - 1))
    codes = np.full((7, 5), 99, np.int8)
    saturated = rescale_sums(sums, factor, addend, shift, *(np.int64(limit) for limit in I8), codes)
    values = np.empty(codes.shape, object)
    for row, column in np.ndindex(codes.shape):
        total = sum(int(sums[g, row, column]) * int(factor[g, column]) for g in range(segments))
        bias_code = Fraction(int(bias[column]), 2**bias_bits)
        values[row, column] = naive.round_half_up(Fraction(total, 2 ** int(shift[column])) + bias_code)
    expected, clipped = naive.clamp_all(values, *I8)
    assert np.array_equal(codes, expected)
    assert saturated == clipped


def test_two_segments_by_hand() -> None:
    """(10 * 3 + 7 * 5) / 8 = 8.125, and -8.125 - 1/2 = -8.625: one rounding each."""
    sums, factor = np.array([[[10, -10]], [[7, -7]]]), np.array([[3, 3], [5, 5]])
    shift = np.array([3, 3])
    addend = (np.array([0, -1]) << 2) + 4
    codes = np.empty((1, 2), np.int8)
    assert rescale_sums(sums, factor, addend, shift, *(np.int64(limit) for limit in I8), codes) == 0
    assert codes.tolist() == [[8, -9]]


@pytest.mark.parametrize(("bits", "dtype"), [(2, np.int8), (8, np.int8), (12, np.int16)])
def test_every_code_finds_its_entry(bits: int, dtype: type) -> None:
    """Entries hold twice the result, and one more where it saturated."""
    low = -(2 ** (bits - 1))
    x = np.arange(low, -low, dtype=dtype)
    results = (x.astype(np.int64) ** 2 - 5).clip(-(2**15), 1000)
    clamped = results == 1000
    codes = np.full(x.shape, 99, np.int16)
    saturated = look_up(x, len(x), len(x), np.int32(low), (2 * results + clamped).astype(np.int32), codes)
    assert codes.tolist() == results.tolist()
    assert saturated == clamped.sum()


def test_unsigned_codes_and_more_than_one_piece() -> None:
    x = np.tile(np.array([0, 3, 2], np.int16), 4097)
    codes = np.empty(x.shape, np.int16)
    table = np.array([-20, 40, 61, 80], np.int32)
    assert look_up(x, len(x), len(x), np.int32(0), table, codes) == 4097
    assert codes.tolist() == [-10, 40, 30] * 4097


RUNS = [(1, 1), (1, 3), (5, 7), (16, 16), (35, 40)]
"""Elements of a run, and from one run to the next; shorter and longer than a vector."""


def places_of(run: int, pitch: int, rows: int) -> np.ndarray:
    """Where the elements of the runs lie."""
    return (pitch * np.arange(rows)[:, None] + np.arange(run)).reshape(-1)


@pytest.mark.parametrize(("run", "pitch"), RUNS)
def test_runs_are_looked_up(run: int, pitch: int) -> None:
    x = np.random.default_rng(run).integers(-100, 100, 6 * pitch).astype(np.int16)
    table = np.arange(-300, 300, 3).astype(np.int32)
    places, codes = places_of(run, pitch, 6), np.full(6 * run, 99, np.int16)
    odd = look_up(x, pitch, run, np.int32(-100), table, codes)
    entries = [3 * int(code) for code in x[places]]
    assert codes.tolist() == [entry // 2 for entry in entries]
    assert odd == sum(entry % 2 for entry in entries)


@pytest.mark.parametrize(("run", "pitch"), RUNS)
@pytest.mark.parametrize("shift", [-2, 0, 17])
def test_runs_are_written(run: int, pitch: int, shift: int) -> None:
    """And nothing between them."""
    x = np.random.default_rng(run).integers(*I16, 6 * run, endpoint=True).astype(np.int16)
    codes, places = np.full(6 * pitch, 99, np.int16), places_of(run, pitch, 6)
    numbers = (np.int64(value) for value in (20001, shift, *I16))
    saturated = rescale_runs(x, *numbers, run, pitch, codes)
    values = np.array([naive.shifted(int(code) * 20001, shift) for code in x], object)
    expected, clipped = naive.clamp_all(values, *I16)
    assert codes[places].tolist() == expected.tolist()
    assert saturated == clipped
    assert np.count_nonzero(np.delete(codes, places) != 99) == 0


@pytest.mark.parametrize(("run", "pitch"), RUNS)
@pytest.mark.parametrize(
    "dtypes", [(np.int16, np.int16), (np.uint16, np.int16), (np.uint16, np.uint16), (np.int8, np.int32)]
)
@pytest.mark.parametrize("shift", [-3, 0, 30])
def test_runs_are_multiplied(run: int, pitch: int, dtypes: tuple[type, type], shift: int) -> None:
    """The ends of every type among them."""
    rng, sides = np.random.default_rng(run), []
    for dtype, length in zip(dtypes, (6 * pitch, 6 * run), strict=True):
        limits = np.iinfo(dtype)
        side = rng.integers(limits.min, limits.max, length, dtype, endpoint=True)
        side[:3] = [limits.min, limits.max, limits.min]
        sides.append(side)
    codes = np.full(6 * run, 99, np.int32)
    numbers = (np.int64(value) for value in (-32767, shift, -(2**29), 2**29))
    saturated = multiply_rescaled(sides[0], pitch, sides[1], run, run, *numbers, codes)
    pairs = zip(sides[0][places_of(run, pitch, 6)].tolist(), sides[1].tolist(), strict=True)
    values = np.array([naive.shifted(a * b * -32767, shift) for a, b in pairs], object)
    expected, clipped = naive.clamp_all(values, -(2**29), 2**29)
    assert codes.tolist() == expected.tolist()
    assert saturated == clipped
