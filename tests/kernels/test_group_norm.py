"""GroupNorm of channels-last codes, against Python integers and, in the large, against its real formula."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.group_norm import group_normalize
from tests import naive

I16 = (-32768, 32767)


def run(
    x: np.ndarray,
    groups: int,
    fraction: int,
    epsilon: int,
    gain: np.ndarray,
    gain_bits: int,
    offset: np.ndarray,
    limits: tuple[int, int] = I16,
) -> tuple[np.ndarray, int]:
    codes = np.full(x.shape, 99, np.int16)
    numbers = [np.int64(value) for value in (fraction, epsilon, gain_bits, *limits)]
    saturated = group_normalize(x, groups, *numbers[:2], gain, numbers[2], offset, *numbers[3:], codes)
    return codes, int(saturated)


def naive_groups(
    x: np.ndarray,
    groups: int,
    fraction: int,
    epsilon: int,
    gain: np.ndarray,
    gain_bits: int,
    offset: np.ndarray,
    limits: tuple[int, int] = I16,
) -> tuple[np.ndarray, int]:
    """``[samples, pixels, channels]`` as rows of groups, one after the other."""
    samples, pixels, channels = x.shape
    rows = x.transpose(0, 2, 1).reshape(samples * groups, channels // groups, pixels)
    tables = (gain.reshape(groups, -1), gain_bits, offset.reshape(groups, -1))
    codes, saturated = naive.normalize(rows, fraction, epsilon, *tables, *limits)
    return codes.reshape(samples, channels, pixels).transpose(0, 2, 1), saturated


@pytest.mark.parametrize("spread", [1, 5, 300, 32767])
@pytest.mark.parametrize(("gain_bits", "fraction"), [(3, 6), (10, 6), (-6, 10), (32, 6)])
@pytest.mark.parametrize(("pixels", "channels", "groups"), [(5, 6, 2), (1, 4, 4), (1, 3, 1), (3, 2, 1)])
def test_groups(spread: int, gain_bits: int, fraction: int, pixels: int, channels: int, groups: int) -> None:
    rng = np.random.default_rng(spread)
    x = rng.integers(-spread - 1, spread + 1, (2, pixels, channels)).astype(np.int16)
    x = x // 16 if fraction == 10 else x
    gain = rng.integers(-(2**23), 2**23, channels)
    offset = rng.integers(-(2**14), 2**14, channels) << max(0, min(16, 30 - gain_bits))
    arguments = (x, groups, fraction, 4096, gain, gain_bits, offset)
    expected, clipped = naive_groups(*arguments)
    codes, saturated = run(*arguments)
    assert np.array_equal(codes, expected)
    assert saturated == clipped


@pytest.mark.parametrize("pixels", [1, 2, 63, 131])
def test_moments_are_gathered_from_chunks_of_pixels(pixels: int) -> None:
    rng = np.random.default_rng(pixels)
    x = rng.integers(-3000, 9000, (2, pixels, 4)).astype(np.int16)
    arguments = (x, 2, 6, 77, rng.integers(-(2**22), 2**22, 4), 8, rng.integers(-(2**20), 2**20, 4))
    expected, clipped = naive_groups(*arguments, (-900, 800))
    codes, saturated = run(*arguments, (-900, 800))
    assert np.array_equal(codes, expected)
    assert saturated == clipped > 0


@pytest.mark.parametrize("code", [-32768, 0, 32767])
@pytest.mark.parametrize("epsilon", [0, 1, 2**60])
def test_a_constant_group_is_its_offset(code: int, epsilon: int) -> None:
    """No spread: V is max(1, epsilon) and every d is zero."""
    x = np.full((2, 3, 2), code, np.int16)
    gain, offset = np.array([2**22, -(2**22)]), np.array([7 << 16, -9 << 16])
    codes, saturated = run(x, 1, 6, epsilon, gain, 4, offset)
    assert codes.tolist() == [[[7, -9]] * 3] * 2
    assert saturated == 0


@pytest.mark.parametrize("high", [32767, -32767])
def test_one_outlier_in_a_group(high: int) -> None:
    """The largest possible ``d / sqrt(V)``, and codes that saturate."""
    x = np.zeros((1, 16, 1), np.int16)
    x[0, 3, 0] = high
    arguments = (x, 1, 6, 0, np.array([2**23]), 6, np.array([0]))
    expected, clipped = naive_groups(*arguments)
    codes, saturated = run(*arguments)
    assert np.array_equal(codes, expected)
    assert saturated == clipped > 0


def test_full_range_codes_at_the_edge_of_64_bits() -> None:
    """8,192 elements of ±2**15: what 2 (b + f) + log2 n <= 61 allows at f = 8, and every value is ±1.

    The mean is -1/2 code: exact at one fractional bit or more.
    """
    x = np.tile(np.array([-32768, 32767], np.int16), (1, 1024, 4))
    n = x.size
    gain = np.full(8, round(n**0.5 * 1000 * 2**8))
    codes, _ = run(x, 1, 8, 0, gain, 8, np.zeros(8, np.int64))
    assert n == 2**13
    assert np.unique(codes).tolist() == [-1000, 1000]
