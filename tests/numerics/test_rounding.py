"""Round half up, against fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hqsim.numerics import round_half_up, shift_round_half_up

# NUMERICS.md section 2: half goes towards plus infinity.
HALVES = {-2.5: -2, -1.5: -1, -0.5: 0, 0.5: 1, 1.5: 2, 2.5: 3}


@pytest.mark.parametrize(("x", "expected"), HALVES.items())
def test_halves_go_up(x: float, expected: int) -> None:
    assert round_half_up(x) == expected
    assert shift_round_half_up(int(2 * x), 1) == expected
    assert shift_round_half_up(int(2 * x) << 40, 41) == expected


@given(st.integers(-(2**62), 2**62 - 1), st.integers(1, 62))
@example(2**62 - 1, 62)
@example(-(2**62), 62)
@example(-(2**62), 1)
@example(-1, 1)
def test_right_shift_is_the_rounded_quotient(x: int, shift: int) -> None:
    assert shift_round_half_up(x, shift) == math.floor(Fraction(x, 2**shift) + Fraction(1, 2))


@given(st.integers(-(2**30), 2**30), st.integers(-30, 0))
def test_no_shift_or_a_left_shift_is_a_product(x: int, shift: int) -> None:
    assert shift_round_half_up(x, shift) == x * 2**-shift


def test_shifts_broadcast() -> None:
    x = np.array([[5, -5, 6], [7, -7, 1]], np.int8)
    result = shift_round_half_up(x, np.array([1, 0, -2]))
    assert result.dtype == np.int64
    assert result.tolist() == [[3, -5, 24], [4, -7, 4]]


@given(st.floats(-1e15, 1e15))
@example(0.49999999999999994)
@example(-0.49999999999999994)
@example(-0.5000000000000001)
@example(-1e-300)
@example(4503599627370495.5)
@example(-4503599627370495.5)
def test_reals_are_rounded_exactly(x: float) -> None:
    assert round_half_up(x) == math.floor(Fraction(x) + Fraction(1, 2))


def test_it_differs_from_half_to_even_where_it_must() -> None:
    x = np.array([0.5, 2.5, -1.5, -3.5])
    assert round_half_up(x).tolist() == [1, 3, -1, -3]
    assert np.round(x).tolist() == [0, 2, -2, -4]
