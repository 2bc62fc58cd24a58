"""Dyadic factors: a 15-bit multiplier, the nearest one, exact as float64."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hqsim.errors import NumericsError
from hqsim.numerics import dyadic, dyadic_value, shift_round_half_up, snap
from tests import naive

RATIOS = st.floats(2.0**-47, 2.0**15 - 1, allow_nan=False)


@given(RATIOS)
@example(2.0**-47)
@example(1.0)
@example(1 - 2.0**-53)
@example(2.0 - 2.0**-52)
@example(32767.0)
def test_the_factor_is_the_nearest_one(ratio: float) -> None:
    factor = dyadic(ratio)
    multiplier, shift = int(factor.multiplier), int(factor.shift)
    assert 2**14 <= multiplier < 2**15
    assert 0 <= shift <= 62
    error = abs(Fraction(multiplier, 2**shift) - Fraction(ratio))
    below = (multiplier - 1, shift) if multiplier > 2**14 else (2**15 - 1, shift + 1)
    for other, places in (below, (multiplier + 1, shift)):
        assert error <= abs(Fraction(other, 2**places) - Fraction(ratio))
    assert error <= Fraction(ratio) / 2**15


@given(RATIOS)
def test_the_value_is_the_factor_exactly(ratio: float) -> None:
    factor = dyadic(ratio)
    value = Fraction(float(factor.value))
    assert value == Fraction(int(factor.multiplier), 2 ** int(factor.shift))
    assert value == Fraction(float(snap(ratio)))


@given(st.floats(1e-300, 1e300))
def test_snapping_twice_changes_nothing(scale: float) -> None:
    once = float(snap(scale))
    assert abs(once - scale) <= scale * 2.0**-15
    assert float(snap(once)) == once


def test_known_factors() -> None:
    factor = dyadic([1.0, 0.5, 0.75, 3.0, 1 / 3, 32767.0])
    assert factor.multiplier.tolist() == [16384, 16384, 24576, 24576, 21845, 32767]
    assert factor.shift.tolist() == [14, 15, 15, 13, 16, 0]


def test_a_mantissa_that_rounds_up_to_the_next_power_is_carried() -> None:
    factor = dyadic(2.0 - 2.0**-20)
    assert (int(factor.multiplier), int(factor.shift)) == (2**14, 13)


def test_value_of_arrays() -> None:
    assert dyadic_value([3, 5], [1, 0]).tolist() == [1.5, 5.0]


@given(st.integers(-(2**36) + 1, 2**36 - 1), st.integers(2**14, 2**15 - 1), st.integers(0, 62))
@example(2**36 - 1, 2**15 - 1, 37)
def test_float64_evaluates_a_16_bit_factor_exactly(acc: int, multiplier: int, shift: int) -> None:
    """NUMERICS.md section 3: below 2**36 the product is exact in float64."""
    in_float = float(acc) * float(dyadic_value(multiplier, shift))
    assert naive.round_half_up(Fraction(in_float)) == int(shift_round_half_up(acc * multiplier, shift))


def test_float64_misses_the_stated_31_bit_product() -> None:
    """NUMERICS.md section 3: why the multiplier has 16 bits."""
    acc, multiplier, shift = 1380525203, 1717986917, 31
    assert int(shift_round_half_up(acc * multiplier, shift)) == 1104420161
    assert int(np.floor(float(acc) * float(dyadic_value(multiplier, shift)) + 0.5)) == 1104420162


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("nan"), float("inf")])
def test_only_finite_positive_ratios(ratio: float) -> None:
    with pytest.raises(
        NumericsError, match=rf"^conv: a dyadic factor must be finite and positive, got {ratio}$"
    ):
        dyadic([1.0, ratio], what="conv")


@pytest.mark.parametrize(("ratio", "shift"), [(32768.0, -1), (2.0**-49, 63)])
def test_a_shift_out_of_range_names_the_factor(ratio: float, shift: int) -> None:
    with pytest.raises(
        NumericsError, match=rf"^conv: factor {ratio} needs a shift of {shift}, allowed 0\.\.62; "
    ):
        dyadic([1.0, ratio], what="conv")
