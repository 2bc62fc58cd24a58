"""Element-wise kernels with a repeated operand, against Python integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.kernels.broadcast import add_broadcast, add_constant, multiply_broadcast
from tests import naive

LIMITS = (-32768, 32767)
SHAPE = (2, 3, 21)
REPEATED = [(2, 1, 21), (2, 3, 1)]
CODES = st.integers(*LIMITS)
INTS = tuple(np.int64(limit) for limit in LIMITS)


def make(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Codes with both ends among them."""
    codes = np.random.default_rng(seed).integers(LIMITS[0], LIMITS[1] + 1, shape).astype(np.int16)
    codes.flat[0], codes.flat[-1] = LIMITS
    return codes


def expect(formula: Callable[[int, int], int], a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, int]:
    """Apply ``formula`` to every pair and clamp."""
    values = np.empty(a.shape, object)
    other = np.broadcast_to(b, a.shape)
    for index in np.ndindex(a.shape):
        values[index] = formula(int(a[index]), int(other[index]))
    return naive.clamp_all(values, *LIMITS)


@pytest.mark.parametrize("repeated", REPEATED)
@pytest.mark.parametrize("shift", [0, 12, 16])
def test_sum(repeated: tuple[int, ...], shift: int) -> None:
    a, b = make(SHAPE, 0), make(repeated, 1)
    expected, clipped = expect(lambda x, y: naive.shifted(x * 32767 - y * 17001, shift), a, b)
    codes = np.empty(SHAPE, np.int16)
    saturated = add_broadcast(a, b, np.int64(32767), np.int64(-17001), np.int64(shift), *INTS, codes)
    assert np.array_equal(codes, expected)
    assert saturated == clipped


@pytest.mark.parametrize("repeated", REPEATED)
@pytest.mark.parametrize("shift", [0, 28, 31])
def test_product(repeated: tuple[int, ...], shift: int) -> None:
    a, b = make(SHAPE, 0), make(repeated, 1)
    expected, clipped = expect(lambda x, y: naive.shifted(x * y * 20001, shift), a, b)
    codes = np.empty(SHAPE, np.int16)
    saturated = multiply_broadcast(a, b, np.int64(20001), np.int64(shift), *INTS, codes)
    assert np.array_equal(codes, expected)
    assert saturated == clipped


@given(CODES, st.integers(-(2**28), 2**28), st.integers(8, 40))
def test_constant(code: int, constant: int, shift: int) -> None:
    codes = np.empty((1, 1), np.int16)
    x, table = np.array([[code]], np.int16), np.array([[constant]])
    saturated = add_constant(x, table, np.int64(30001), np.int64(shift), np.int64(8), *INTS, codes)
    value = naive.shifted(code * 30001 + constant * 2 ** (shift - 8), shift)
    expected, clipped = naive.clamp_all(np.array([[value]], object), *LIMITS)
    assert np.array_equal(codes, expected)
    assert saturated == clipped


def test_constants_repeat_over_the_rows() -> None:
    """A table of two rows for four: one is one output code, 256 of its steps."""
    x = np.zeros((4, 3), np.int16)
    table = np.array([[256, 512, 768], [-256, 127, 128]])
    codes = np.empty((4, 3), np.int16)
    add_constant(x, table, np.int64(16384), np.int64(14), np.int64(8), *INTS, codes)
    assert codes.tolist() == [[1, 2, 3], [-1, 0, 1]] * 2
