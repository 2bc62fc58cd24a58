"""Butterflies against dense ±1 matrices."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.fwht import inverse_blocks, quantize_blocks
from tests import naive

# outer, blocks, inner
LAYOUTS = [(1, 1, 1), (3, 2, 1), (2, 1, 5), (2, 3, 2)]
ORDERS = [0, 1, 2, 3, 5]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("outer", "blocks", "inner"), LAYOUTS)
@pytest.mark.parametrize("with_signs", [False, True])
def test_quantize(order: int, outer: int, blocks: int, inner: int, with_signs: bool) -> None:
    rng = np.random.default_rng(0)
    n = 2**order
    signs = naive.rudin_shapiro(n) if with_signs else [1] * n
    x = rng.integers(-32768, 32768, (outer, n * blocks, inner)).astype(np.int16)
    codes = np.full(x.shape, 99, np.int8)
    multiplier, shift = 20000, 27 + order // 2
    low, high = np.int64(-8), np.int64(7)
    saturated = quantize_blocks(x, np.array(signs), np.int64(multiplier), np.int64(shift), low, high, codes)
    expected, clipped = naive.quantize_blocks(x, signs, multiplier, shift, -8, 7)
    assert np.array_equal(codes, expected)
    assert saturated == clipped


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("outer", "blocks", "inner"), LAYOUTS)
@pytest.mark.parametrize("with_signs", [False, True])
def test_inverse(order: int, outer: int, blocks: int, inner: int, with_signs: bool) -> None:
    rng = np.random.default_rng(0)
    n = 2**order
    signs = naive.rudin_shapiro(n) if with_signs else [1] * n
    codes = rng.integers(-8, 8, (outer, n * blocks, inner)).astype(np.int8)
    operand = np.full(codes.shape, 99, np.int16)
    inverse_blocks(codes, np.array(signs), operand)
    assert np.array_equal(operand, naive.transform(codes, signs, inverse=True).astype(np.int64))


@pytest.mark.parametrize(("code", "dtype"), [(-32768, np.int16), (32767, np.int16), (65535, np.int32)])
def test_extreme_carriers_pile_up_without_a_wrap(code: int, dtype: type[np.signedinteger]) -> None:
    n = 32
    x = np.full((1, n, 1), code, dtype)
    codes = np.empty(x.shape, np.int32)
    wide = (np.int64(-(2**31)), np.int64(2**31 - 1))
    quantize_blocks(x, np.ones(n, np.int64), np.int64(16384), np.int64(14), *wide, codes)
    assert codes[0, :, 0].tolist() == [n * code] + [0] * (n - 1)


@pytest.mark.parametrize(
    ("low", "high", "dtype"), [(-8, 7, np.int8), (-128, 127, np.int8), (0, 255, np.int16)]
)
def test_the_inverse_reaches_the_range_of_the_operand(
    low: int, high: int, dtype: type[np.signedinteger]
) -> None:
    """Rows of the matrix decide, per element, which extreme code makes it largest and smallest."""
    n = 32
    rows = np.array(naive.hadamard(n))
    codes = np.concatenate([np.where(rows > 0, high, low), np.where(rows > 0, low, high)]).astype(dtype)
    operand = np.empty((2 * n, n, 1), np.int16)
    inverse_blocks(codes[:, :, None], np.ones(n, np.int64), operand)
    reached = operand[:, :, 0].astype(int)
    assert np.array_equal(reached, codes.astype(int) @ rows)
    half = n // 2
    assert reached.max() == max(n * high, half * (high - low))
    assert reached.min() == min(n * low, half * (low - high))


def test_forward_and_inverse_give_n_times_the_input() -> None:
    rng = np.random.default_rng(3)
    n, signs = 16, np.array(naive.rudin_shapiro(16))
    x = rng.integers(-8, 8, (2, 2 * n, 3)).astype(np.int16)
    spread, back = np.empty(x.shape, np.int16), np.empty(x.shape, np.int16)
    exact = (np.int64(16384), np.int64(14), np.int64(-32768), np.int64(32767))
    assert quantize_blocks(x, signs, *exact, spread) == 0
    inverse_blocks(spread, signs, back)
    assert np.array_equal(back, n * x)
