"""Accumulators that wrap or saturate, against Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.kernels.accumulate import matmul_saturate, wrap
from tests import naive

SEEDS = st.integers(0, 2**32)
SMALL = st.integers(1, 5)


@pytest.mark.parametrize(
    ("value", "wrapped"), [(0, 0), (7, 7), (8, -8), (-8, -8), (-9, 7), (16, 0), (1000, -8), (2**40 + 3, 3)]
)
def test_wrap_to_4_bits(value: int, wrapped: int) -> None:
    sums = np.array([value], np.int64)
    assert wrap(np.int64(4), sums) == (value != wrapped)
    assert sums.tolist() == [wrapped]


@given(SEEDS, SMALL, SMALL, st.integers(1, 9), SMALL, st.integers(4, 12))
def test_saturation_after_every_term(seed, count, m, k, n, bits) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(-15, 16, (count, m, k)).astype(np.int32)
    b = rng.integers(-7, 8, (count, k, n)).astype(np.int32)
    sums = np.empty((count, m, n), np.int64)
    events = matmul_saturate(a, b, np.int64(bits), sums)
    expected, clamped = naive.matmul_saturate(a, b, bits)
    assert np.array_equal(sums, expected)
    assert events == clamped


def test_the_order_decides_what_saturates() -> None:
    """To 4 bits: 5 + 5 clamps to 7, less 4 is 3; 5 - 4 + 5 is 6 and nothing clamps."""
    a = np.array([[[5, 5, -4], [5, -4, 5]]], np.int32)
    b = np.ones((1, 3, 1), np.int32)
    sums = np.empty((1, 2, 1), np.int64)
    assert matmul_saturate(a, b, np.int64(4), sums) == 1
    assert sums.ravel().tolist() == [3, 6]
