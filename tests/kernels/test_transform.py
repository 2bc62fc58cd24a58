"""Butterflies against dense ±1 matrices: lanes along an inner axis or rows, signs, zero-points, halves."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.transform import LANES, invert_transform, quantize_transformed
from tests import naive

ORDERS = [0, 1, 2, 3, 5, 6]
# outer, blocks, inner
LAYOUTS = [(1, 1, 1), (3, 2, 1), (2, 1, 5), (2, 3, 2)]
LONG = [(LANES + 3, 1, 1), (1, 1, LANES), (2, 2, LANES + 7)]
I16 = (-32768, 32767)


def make_signs(order: int, with_signs: bool) -> np.ndarray:
    n = 2**order
    return np.array(naive.rudin_shapiro(n) if with_signs else [1] * n, np.int32)


def quantize(
    x: np.ndarray,
    signs: np.ndarray,
    factor: tuple[int, int],
    limits: tuple[int, int],
    zero: int = 0,
    dtype: type = np.int8,
) -> tuple[np.ndarray, int]:
    codes = np.full(x.shape, 99, dtype)
    numbers = [np.int64(value) for value in (*factor, zero, *limits)]
    saturated = quantize_transformed(x, signs, *numbers, codes)
    return codes, int(saturated)


def invert(codes: np.ndarray, signs: np.ndarray, zero: int = 0, dtype: type = np.int16) -> np.ndarray:
    operand = np.full(codes.shape, 99, dtype)
    invert_transform(codes, signs, np.int64(zero), False, operand, np.empty((0, 0, 0), np.uint8))
    return operand


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("with_signs", [False, True])
def test_quantize(order: int, layout: tuple[int, int, int], with_signs: bool) -> None:
    outer, blocks, inner = layout
    signs = make_signs(order, with_signs)
    x = np.random.default_rng(0).integers(-32768, 32768, (outer, len(signs) * blocks, inner)).astype(np.int16)
    factor = (20000, 27 + order // 2)
    expected, clipped = naive.quantize_blocks(x, signs.tolist(), *factor, -8, 7)
    codes, saturated = quantize(x, signs, factor, (-8, 7))
    assert np.array_equal(codes, expected)
    assert saturated == clipped


@pytest.mark.parametrize("zero", [0, 3, 15])
@pytest.mark.parametrize("layout", [(3, 2, 1), *LONG])
def test_quantize_with_a_zero_point(layout: tuple[int, int, int], zero: int) -> None:
    """The zero-point is added before the clamp."""
    outer, blocks, inner = layout
    signs = make_signs(2, True)
    x = np.random.default_rng(1).integers(-32768, 32768, (outer, 4 * blocks, inner)).astype(np.int16)
    codes, saturated = quantize(x, signs, (20000, 28), (0, 15), zero, np.int16)
    expected, clipped = naive.quantize_blocks(x, signs.tolist(), 20000, 28, -zero, 15 - zero)
    assert np.array_equal(codes, expected + zero)
    assert saturated == clipped


@pytest.mark.parametrize(("shift", "expected"), [(0, [-10, -6, 6, 10]), (2, [-2, -1, 2, 3])])
def test_halves_go_up(shift: int, expected: list[int]) -> None:
    """-10 / 4 = -2.5 gives -2, -6 / 4 = -1.5 gives -1."""
    x = np.array([-5, -3, 3, 5], np.int16).reshape(1, 4, 1)
    codes, _ = quantize(x, np.ones(1, np.int32), (2, shift), I16, 0, np.int16)
    assert codes.ravel().tolist() == expected


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("with_signs", [False, True])
@pytest.mark.parametrize("zero", [0, 9])
def test_inverse(order: int, layout: tuple[int, int, int], with_signs: bool, zero: int) -> None:
    outer, blocks, inner = layout
    signs = make_signs(order, with_signs)
    codes = np.random.default_rng(0).integers(-8, 8, (outer, len(signs) * blocks, inner)).astype(np.int8)
    centred = codes.astype(np.int64) - zero
    expected = naive.transform(centred, signs.tolist(), inverse=True).astype(np.int64)
    assert np.array_equal(invert(codes, signs, zero), expected)


@pytest.mark.parametrize("order", [1, 2, 5])
@pytest.mark.parametrize("layout", [*LAYOUTS, *LONG])
def test_a_halved_inverse_and_its_parity(order: int, layout: tuple[int, int, int]) -> None:
    """All values of a block share their parity, so ``2 * operand + parity`` is the inverse.

    Along rows (``inner`` 1) the bits stand twice at the end of each row, elsewhere in an array of their own.
    """
    outer, blocks, inner = layout
    signs = make_signs(order, True)
    n = len(signs)
    codes = np.random.default_rng(0).integers(-8, 8, (outer, n * blocks, inner)).astype(np.int8)
    length, extra = n * blocks, 2 * blocks if inner == 1 else 0
    operand = np.full((outer, length + extra, inner), 99, np.int8)
    parity = np.full((outer, blocks, inner), 99, np.uint8)
    invert_transform(codes, signs, np.int64(0), True, operand, parity)
    if inner == 1:
        parity = operand[:, length : length + blocks]
        assert np.array_equal(parity, operand[:, length + blocks :])
        operand = operand[:, :length]
    assert set(np.unique(parity)) <= {0, 1}
    whole = 2 * operand.astype(np.int64) + np.repeat(parity, n, axis=1)
    assert np.array_equal(whole, naive.transform(codes, signs.tolist(), inverse=True).astype(np.int64))


@pytest.mark.parametrize("layout", [(3, 2, 1), *LONG])
def test_the_inverse_may_overwrite_its_codes(layout: tuple[int, int, int]) -> None:
    outer, blocks, inner = layout
    signs = make_signs(3, True)
    codes = np.random.default_rng(0).integers(-8, 8, (outer, 8 * blocks, inner)).astype(np.int16)
    expected = naive.transform(codes, signs.tolist(), inverse=True).astype(np.int64)
    invert_transform(codes, signs, np.int64(0), False, codes, np.empty((0, 0, 0), np.uint8))
    assert np.array_equal(codes, expected)


@pytest.mark.parametrize(("code", "dtype"), [(-32768, np.int16), (32767, np.int16), (65535, np.int32)])
def test_extreme_carriers_pile_up_without_a_wrap(code: int, dtype: type[np.integer]) -> None:
    """Element 0 is the sum of the block, 22 bits; a quarter of the code is left of it."""
    n = 64
    x = np.full((1, n, 1), code, dtype)
    codes, saturated = quantize(x, np.ones(n, np.int32), (16384, 22), I16, dtype=np.int16)
    assert codes[0, :, 0].tolist() == [naive.shifted(n * code * 16384, 22)] + [0] * (n - 1)
    assert saturated == 0


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
    reached = invert(codes[:, :, None], np.ones(n, np.int32))[:, :, 0].astype(int)
    assert np.array_equal(reached, codes.astype(int) @ rows)
    half = n // 2
    assert reached.max() == max(n * high, half * (high - low))
    assert reached.min() == min(n * low, half * (low - high))


def test_forward_and_inverse_give_n_times_the_input() -> None:
    signs = make_signs(4, True)
    x = np.random.default_rng(3).integers(-8, 8, (2, 32, 3)).astype(np.int16)
    spread, saturated = quantize(x, signs, (16384, 14), I16, dtype=np.int16)
    assert saturated == 0
    assert np.array_equal(invert(spread, signs), 16 * x)
