"""Normalisation of rows, against Python integers and, in the large, against its real formula."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.norm import normalize
from tests import naive

I16 = (-32768, 32767)


def run(
    x: np.ndarray, fraction: int, epsilon: int, gain: np.ndarray, gain_bits: int, offset: np.ndarray
) -> tuple[np.ndarray, int]:
    codes = np.full(x.shape, 99, np.int16)
    numbers = (np.int64(value) for value in (fraction, epsilon))
    low, high = (np.int64(value) for value in I16)
    saturated = normalize(x, *numbers, gain, np.int64(gain_bits), offset, low, high, codes)
    return codes, int(saturated)


@pytest.mark.parametrize("spread", [1, 5, 300, 32767])
@pytest.mark.parametrize(("gain_bits", "fraction"), [(3, 6), (10, 6), (-6, 10), (32, 6)])
def test_rows(spread: int, gain_bits: int, fraction: int) -> None:
    rng = np.random.default_rng(spread)
    x = rng.integers(-spread - 1, spread + 1, (4, 3, 5)).astype(np.int16)
    x = x // 16 if fraction == 10 else x
    gain = rng.integers(-(2**23), 2**23, (2, 3))
    offset = rng.integers(-(2**14), 2**14, (2, 3)) << max(0, min(16, 30 - gain_bits))
    expected, clipped = naive.normalize(x, fraction, 4096, gain, gain_bits, offset, *I16)
    codes, saturated = run(x, fraction, 4096, gain, gain_bits, offset)
    assert np.array_equal(codes, expected)
    assert saturated == clipped


@pytest.mark.parametrize("code", [-32768, 0, 32767])
@pytest.mark.parametrize("epsilon", [0, 1, 2**60])
def test_a_constant_row_is_its_offset(code: int, epsilon: int) -> None:
    """No spread: V is max(1, epsilon) and every d is zero."""
    x = np.full((2, 2, 3), code, np.int16)
    offset = np.array([[7 << 16, -9 << 16]])
    codes, saturated = run(x, 6, epsilon, np.array([[2**22, -(2**22)]]), 4, offset)
    assert codes.tolist() == [[[7] * 3, [-9] * 3]] * 2
    assert saturated == 0


@pytest.mark.parametrize("high", [32767, -32767])
def test_one_outlier_in_a_row(high: int) -> None:
    """The largest possible ``d / sqrt(V)``, and codes that saturate."""
    x = np.zeros((1, 1, 16), np.int16)
    x[0, 0, 3] = high
    gain, offset = np.array([[2**23]]), np.array([[0]])
    expected, clipped = naive.normalize(x, 6, 0, gain, 6, offset, *I16)
    codes, saturated = run(x, 6, 0, gain, 6, offset)
    assert np.array_equal(codes, expected)
    assert saturated == clipped > 0


def test_alternating_full_range_row() -> None:
    """Codes ±a of equal count have mean 0 and deviation a, so every normalised value is ±1."""
    x = np.tile(np.array([-32767, 32767], np.int16), (1, 1, 32))
    n = x.size
    gain = np.array([[round(n**0.5 * 1000 * 2**8)]])
    codes, _ = run(x, 6, 0, gain, 8, np.array([[0]]))
    assert np.unique(codes).tolist() == [-1000, 1000]
