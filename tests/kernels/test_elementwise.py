"""Rescales per channel with a bias, and of a sum of two."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from hqsim.kernels.elementwise import add_rescaled, requantize
from tests import naive

I8 = (np.int64(-128), np.int64(127))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("bias_bits", [0, 1, 8])
def test_requantize(dtype: type[np.signedinteger], bias_bits: int) -> None:
    rng = np.random.default_rng(0)
    reach = min(np.iinfo(dtype).max, 2**33)
    sums = rng.integers(-reach, reach, (3, 4, 5)).astype(dtype)
    sums[0, :, :2] = -reach, reach
    multiplier = np.array([16384, 32767, 20000, 16385])
    shift = np.array([15, 18, 15, 20]) + max(0, reach.bit_length() - 8)
    bias = np.array([0, 300, -4000, 7])
    codes = np.empty(sums.shape, np.int8)
    saturated = requantize(sums, multiplier, shift, bias, np.int64(bias_bits), *I8, codes)
    biases = [Fraction(int(value), 2**bias_bits) for value in bias]
    expected, clipped = naive.requantize(sums, multiplier.tolist(), shift.tolist(), biases, -128, 127)
    assert np.array_equal(codes, expected)
    assert saturated == clipped


def test_halves_go_up_and_the_bias_is_added_before_the_rounding() -> None:
    sums = np.array([[[-5, -3, 3, 5]], [[-5, -3, 3, 5]]], np.int32).reshape(1, 2, 4)
    codes = np.empty(sums.shape, np.int8)
    one_half = (np.array([16384, 16384]), np.array([15, 15]))
    assert requantize(sums, *one_half, np.array([0, 1]), np.int64(1), *I8, codes) == 0
    # -2.5 -> -2, -1.5 -> -1, 1.5 -> 2, 2.5 -> 3; with half a code of bias the sums are whole.
    assert codes.tolist() == [[[-2, -1, 2, 3], [-2, -1, 2, 3]]]


def test_every_saturated_code_is_counted() -> None:
    sums = np.array([[[-1000, -129, -128, 127, 128, 1000]]], np.int32)
    codes = np.empty(sums.shape, np.int8)
    exact = (np.array([16384]), np.array([14]), np.array([0]), np.int64(0))
    assert requantize(sums, *exact, *I8, codes) == 4
    assert codes.tolist() == [[[-128, -128, -128, 127, 127, 127]]]


@pytest.mark.parametrize("columns", [5, 1])
@pytest.mark.parametrize(
    ("multiplier_a", "multiplier_b", "shift"),
    [(16384, 30000, 15), (-7000, 32767, 14), (3, -2, -1), (16384, 1, 0)],
)
def test_add(columns: int, multiplier_a: int, multiplier_b: int, shift: int) -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(-32768, 32768, (4, 5)).astype(np.int16)
    b = rng.integers(-32768, 32768, (4, columns)).astype(np.int16)
    a[0], b[0] = -32768, -32768
    a[1], b[1] = 32767, 32767
    low, high = np.int64(-32768), np.int64(32767)
    codes = np.empty(a.shape, np.int16)
    factors = (np.int64(multiplier_a), np.int64(multiplier_b), np.int64(shift))
    saturated = add_rescaled(a, b, *factors, low, high, codes)
    expected, clipped = naive.add_rescaled(a, b, multiplier_a, multiplier_b, shift, -32768, 32767)
    assert np.array_equal(codes, expected)
    assert saturated == clipped


def test_add_of_the_sampler() -> None:
    """x in 24 bits and noise in 16, with the 22-bit factors of a DDIM step near the start of sampling."""
    rng = np.random.default_rng(0)
    x = rng.integers(-(2**23), 2**23, (2, 6)).astype(np.int32)
    noise = rng.integers(-32768, 32768, (2, 6)).astype(np.int16)
    x[0, :2], noise[0, :2] = [-(2**23), 2**23 - 1], [-32768, 32767]
    factors = (157 << 22, -(157 * 144) << 22, 22)
    low, high = -(2**23), 2**23 - 1
    codes = np.empty(x.shape, np.int32)
    saturated = add_rescaled(x, noise, *(np.int64(v) for v in (*factors, low, high)), codes)
    expected, clipped = naive.add_rescaled(x, noise, *factors, low, high)
    assert np.array_equal(codes, expected)
    assert saturated == clipped
