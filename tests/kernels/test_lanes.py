"""Element-wise loops: every type, the ends of 32 bits, clamps and counts, whole vectors and what is left."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from hqsim.kernels.lanes import LANE, SIZE, elements, filled, is_signed, lane_intrinsic, lane_loop
from hqsim.kernels.rescale import _add_lanes, _add_wide, _look_up_lanes, add_run, rescale_lanes
from tests import naive

LENGTHS = [0, 1, 15, 16, 17, 33]
"""Around vectors of 16 and of 32."""
NARROW = [np.int8, np.uint8, np.int16, np.uint16]
SIGNED = [np.int8, np.int16, np.int32]
I32 = (-(2**31), 2**31 - 1)


def random(dtype: Any, length: int, seed: int = 0) -> np.ndarray:
    """Codes of a type, its ends and 0 among them."""
    limits = np.iinfo(dtype)
    codes = np.random.default_rng(seed).integers(limits.min, limits.max, length, dtype, endpoint=True)
    codes[:3] = [limits.max, limits.min, 0][:length]
    return codes


def room(dtype: Any, length: int) -> tuple[np.ndarray, np.ndarray]:
    """An array of 99 and the part of it that a loop may write."""
    whole = np.full(length + 7, 99, dtype)
    return whole, whole[3 : 3 + length]


def outside(whole: np.ndarray) -> set[int]:
    """What is beside that part."""
    return {*whole[:3].tolist(), *whole[len(whole) - 4 :].tolist()}


def _plain_sum(x, scale, wide, target):
    target[:] = x.astype(np.int64) * np.int64(scale) + wide
    return np.count_nonzero(target > 1000)


@lane_intrinsic(_plain_sum)
def _sum(typing_context, x, scale, wide, target):
    """Write ``x * scale + wide``; count what is larger than 1000."""

    def emit(step):
        product = step.product(step.load(0, LANE), step.scalar(1, LANE))
        value = step.builder.add(product, step.load(2, SIZE))
        step.store(3, value)
        return step.builder.icmp_signed(">", value, filled(value.type, 1000))

    return lane_loop(8, emit, x, scale, wide, target)


@numba.njit
def run_sum(x, scale, wide, target):
    return _sum(x, scale, wide, target)


@numba.njit
def run_rescale(x, multiplier, offset, left, right, low, high, zero, codes):
    return rescale_lanes(x, multiplier, offset, left, right, low, high, zero, codes)


@numba.njit
def run_add(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes):
    return _add_lanes(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes)


@numba.njit
def run_wide_add(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes):
    return _add_wide(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes)


@numba.njit
def run_any_add(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes):
    return add_run(a, b, multiplier_a, multiplier_b, half, left, right, low, high, codes)


@numba.njit
def run_elements(x, begin, count):
    elements(x, begin, count)[:] += 1


@numba.njit
def run_is_signed(x):
    return is_signed(x)


@numba.njit
def run_entries(x, first, table, codes):
    return _look_up_lanes(x, first, table, codes)


def ints(*values: int) -> tuple[np.int64, ...]:
    return tuple(np.int64(value) for value in values)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 17])
@pytest.mark.parametrize("dtype", [*NARROW, np.int32])
def test_a_loop_of_ones_own(dtype: Any, length: int) -> None:
    """Eight lanes, then one by one: extended by its own sign, multiplied in 64 bits, counted."""
    x, wide = random(dtype, length), random(np.int32, length, 1).astype(np.int64)
    whole, target = room(np.int64, length)
    count = run_sum(x, np.int64(I32[0]), wide, target)
    expected = [int(code) * I32[0] + int(more) for code, more in zip(x, wide, strict=True)]
    assert target.tolist() == expected
    assert count == sum(value > 1000 for value in expected)
    assert outside(whole) == {99}


@pytest.mark.skipif(not numba.config.DISABLE_JIT, reason="for runs without the compiler")
def test_without_the_compiler_a_loop_is_its_plain_form() -> None:
    assert _sum is _plain_sum


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("source", [*NARROW, np.int32])
@pytest.mark.parametrize("target", [*NARROW, np.int32, np.int64])
def test_codes_of_any_type_become_codes_of_any_type(target: Any, source: Any, length: int) -> None:
    """Extended by their own sign, clamped to the ends of the other type, cut to it."""
    x, limits = random(source, length), np.iinfo(target)
    whole, codes = room(target, length)
    saturated = run_rescale(x, *ints(1, 0, 0, 0, limits.min, limits.max, 0), codes)
    expected, clipped = naive.clamp_all(x.astype(object), limits.min, limits.max)
    assert codes.tolist() == expected.tolist()
    assert saturated == clipped
    assert outside(whole) == {99}


@pytest.mark.parametrize("multiplier", [*I32, -1, 16384])
@pytest.mark.parametrize("length", LENGTHS)
def test_rescale_at_the_ends_of_32_bits(length: int, multiplier: int) -> None:
    """2**62 is the largest product; the zero-point comes after the clamp, and counts nothing."""
    x = random(np.int32, length)
    whole, codes = room(np.int32, length)
    saturated = run_rescale(x, *ints(multiplier, 2**32, 0, 33, -(2**20), 2**20, -5), codes)
    values = np.array([(int(code) * multiplier + 2**32) // 2**33 for code in x], object)
    expected, clipped = naive.clamp_all(values, -(2**20), 2**20)
    assert codes.tolist() == [code - 5 for code in expected.tolist()]
    assert saturated == clipped
    assert outside(whole) == {99}


@pytest.mark.parametrize("length", LENGTHS)
def test_a_shift_to_the_left(length: int) -> None:
    x = random(np.int16, length)
    whole, codes = room(np.int64, length)
    saturated = run_rescale(x, *ints(-3, 7, 20, 0, -(2**36), 2**36, 0), codes)
    values = np.array([(int(code) * -3 + 7) * 2**20 for code in x], object)
    expected, clipped = naive.clamp_all(values, -(2**36), 2**36)
    assert codes.tolist() == expected.tolist()
    assert saturated == clipped
    assert outside(whole) == {99}


@pytest.mark.parametrize(
    ("run", "factors"),
    [
        (run_add, (I32[0], I32[1])),
        (run_add, (20000, I32[0])),
        (run_wide_add, (I32[0], I32[1])),
        (run_wide_add, (2**46, -3)),
        (run_wide_add, (-(2**38) - 1, 2**46 + 1)),
    ],
)
@pytest.mark.parametrize("length", LENGTHS)
def test_add(length: int, run: Any, factors: tuple[int, int]) -> None:
    """Products of 61 bits at most on either side; of two types."""
    a, b = random(np.int16, length), random(np.int16, length, 1).astype(np.int32)
    if max(map(abs, factors)) <= 2**31:
        b = b * 2**13
    whole, codes = room(np.int32, length)
    saturated = run(a, b, *ints(*factors, 2**41, 0, 42, -30000, 30000), codes)
    totals = [int(p) * factors[0] + int(q) * factors[1] for p, q in zip(a, b, strict=True)]
    expected, clipped = naive.clamp_all(
        np.array([naive.shifted(total, 42) for total in totals], object), -30000, 30000
    )
    assert codes.tolist() == expected.tolist()
    assert saturated == clipped
    assert outside(whole) == {99}


@pytest.mark.parametrize(
    "types", [(np.int16, np.int16), (np.uint16, np.int16), (np.int16, np.int32), (np.uint8, np.int8)]
)
@pytest.mark.parametrize("factors", [(32767, 32767), (-32767, 32767), (32768, -3), (-32767, -32767)])
@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 16), (0, 17), (2, 0)])
def test_a_sum_is_exact_in_as_few_bits_as_it_needs(types: Any, factors: Any, left: int, right: int) -> None:
    """The ends of both types meet: 16-bit codes by factors of 15 bits come within 2**16 of 32 bits."""
    a, b = (random(dtype, 37, seed) for seed, dtype in enumerate(types))
    a[3:5], b[3:5] = (
        [np.iinfo(a.dtype).max, np.iinfo(a.dtype).min],
        [np.iinfo(b.dtype).min, np.iinfo(b.dtype).max],
    )
    half = (1 << right) >> 1
    whole, codes = room(np.int32, 37)
    saturated = run_any_add(a, b, *ints(*factors, half, left, right, -(2**30), 2**30), codes)
    totals = [int(p) * factors[0] + int(q) * factors[1] for p, q in zip(a, b, strict=True)]
    values = np.array([naive.shifted(total * 2**left, right) for total in totals], object)
    expected, clipped = naive.clamp_all(values, -(2**30), 2**30)
    assert codes.tolist() == expected.tolist()
    assert saturated == clipped
    assert outside(whole) == {99}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", [*NARROW, np.int32])
def test_entries_of_a_table(dtype: Any, length: int) -> None:
    """From the lowest code on; odd entries are counted."""
    x = random(np.int16 if dtype == np.int32 else dtype, length).astype(dtype)
    first = int(np.iinfo(np.int16 if dtype == np.int32 else dtype).min)
    table = np.random.default_rng(1).integers(-(2**16), 2**16, 2**16).astype(np.int32)
    whole, codes = room(np.int16, length)
    odd = run_entries(x, np.int32(first), table, codes)
    entries = [int(table[int(code) - first]) for code in x]
    assert codes.tolist() == [entry // 2 for entry in entries]
    assert odd == sum(entry % 2 for entry in entries)
    assert outside(whole) == {99}


def test_elements_are_those_in_memory_and_not_a_copy() -> None:
    x = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    run_elements(x, 5, 9)
    assert x.reshape(-1).tolist() == [*range(5), *range(6, 15), *range(14, 24)]


@pytest.mark.parametrize("dtype", [*NARROW, np.int32, np.int64])
def test_signs(dtype: Any) -> None:
    assert run_is_signed(np.zeros(1, dtype)) == (np.iinfo(dtype).min < 0)
