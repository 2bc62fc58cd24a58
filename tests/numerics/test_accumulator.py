"""Accumulator bounds: never passed, and reached by the worst operand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.numerics import accumulator_bound, operand_range, signed_bits


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [
        (0, 0, 1),
        (-1, 0, 1),
        (0, 1, 2),
        (-2, 1, 2),
        (-8, 7, 4),
        (-8, 8, 5),
        (-9, 7, 5),
        (-256, 240, 9),
        (0, 255, 9),
    ],
)
def test_signed_bits(low: int, high: int, bits: int) -> None:
    assert signed_bits(low, high) == bits


@given(st.integers(-(2**40), 0), st.integers(0, 2**40))
def test_signed_bits_is_the_smallest_width(low: int, high: int) -> None:
    bits = signed_bits(low, high)
    assert -(2 ** (bits - 1)) <= low
    assert high < 2 ** (bits - 1)
    assert bits == 1 or low < -(2 ** (bits - 2)) or high >= 2 ** (bits - 2)


@pytest.mark.parametrize(("low", "high"), [(-2, 1), (-3, 3), (0, 3)])
def test_exhaustive(low: int, high: int) -> None:
    weights = np.array([[1, -3, 2], [0, 0, 0], [-3, 3, -2]], np.int8)
    bound = accumulator_bound(low, high, weights)
    operands = np.array(list(product(range(low, high + 1), repeat=3)))
    sums = operands @ weights.T.astype(np.int64)
    assert np.abs(sums).max() <= bound.magnitude == max(abs(low), abs(high)) * 8
    assert signed_bits(int(sums.min()), int(sums.max())) <= bound.bits


def test_the_most_negative_weight_code_counts_in_full() -> None:
    assert accumulator_bound(-1, 0, np.array([[-128, -128]], np.int8)).magnitude == 256


def test_w8a8_single_hadamard_needs_more_than_32_bits() -> None:
    """NUMERICS.md section 4: order 5 over K = 8640 reaches 2**32.07."""
    low, high = operand_range(-128, 127, 5)
    bound = accumulator_bound(low, high, np.full((1, 8640), 127, np.int8))
    assert bound.magnitude == 32 * 128 * 127 * 8640
    assert round(float(np.log2(bound.magnitude)), 2) == 32.07
    assert (bound.bits, bound.fits_int32) == (34, False)


def test_int32_is_enough_up_to_its_last_value() -> None:
    assert accumulator_bound(0, 1, np.array([[2**31 - 1]], np.int64)).fits_int32
    assert not accumulator_bound(0, 1, np.array([[2**31]], np.int64)).fits_int32
