"""Scalar helpers, called from Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hqsim.kernels.scalar import bit_length, clamp, integer_sqrt, round_shift
from tests import naive

INTS = st.integers(-(2**61), 2**61)


@given(INTS, st.integers(1, 62))
@example(2**61, 62)
@example(-(2**61), 62)
@example(-1, 1)
@example(-5, 1)
def test_round_shift_right(x: int, shift: int) -> None:
    assert round_shift(np.int64(x), np.int64(shift)) == naive.shifted(x, shift)


@given(st.integers(-(2**31), 2**31), st.integers(-30, 0))
def test_round_shift_left(x: int, shift: int) -> None:
    assert round_shift(np.int64(x), np.int64(shift)) == x * 2**-shift


@pytest.mark.parametrize(("x", "expected"), [(-9, -8), (-8, -8), (0, 0), (7, 7), (8, 7)])
def test_clamp(x: int, expected: int) -> None:
    assert clamp(np.int64(x), np.int64(-8), np.int64(7)) == expected


@given(st.integers(0, 2**63 - 1))
@example(0)
@example(1)
@example(2**62)
@example(2**62 - 1)
def test_bit_length(x: int) -> None:
    assert bit_length(np.int64(x)) == x.bit_length()


@given(st.integers(0, 2**62 - 1))
@example(0)
@example(1)
@example(2**62 - 1)
@example(2**61)
@example(2**60)
def test_integer_sqrt(x: int) -> None:
    assert integer_sqrt(np.int64(x)) == math.isqrt(x)


@given(st.integers(1, 2**31 - 1), st.integers(-1, 1))
@example(2**31 - 1, 1)
@example(2**31 - 1, -1)
@example(1, -1)
def test_integer_sqrt_around_squares(root: int, away: int) -> None:
    x = root * root + away
    assert integer_sqrt(np.int64(x)) == math.isqrt(x)


def test_integer_sqrt_of_small_numbers() -> None:
    assert [int(integer_sqrt(np.int64(x))) for x in range(300)] == [math.isqrt(x) for x in range(300)]
