"""Softmax rows, against Python integers."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.softmax import softmax
from tests import naive
from tests.kernels.calls import exponential_table


def run(x: np.ndarray, bits: int, low_bits: int = 8) -> tuple[np.ndarray, int]:
    tables = exponential_table(2.0**low_bits), exponential_table(1.0)
    codes = np.full(x.shape, 99, np.int32)
    saturated = softmax(x, *tables, np.int64(low_bits), np.int64(bits), codes)
    return codes, int(saturated)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("reach", [3, 500, 32767])
@pytest.mark.parametrize("n", [1, 2, 17])
def test_rows(bits: int, reach: int, n: int) -> None:
    rng = np.random.default_rng(reach)
    x = rng.integers(-reach - 1, reach + 1, (4, n)).astype(np.int16)
    x[0, 0], x[0, -1] = -reach - 1, reach
    tables = exponential_table(256.0).tolist(), exponential_table(1.0).tolist()
    expected, clipped = naive.softmax(x, *tables, 8, bits)
    codes, saturated = run(x, bits)
    assert np.array_equal(codes, expected)
    assert saturated == clipped


def test_equal_codes_share_equally() -> None:
    codes, saturated = run(np.full((1, 4), -32768, np.int16), 16)
    assert codes.tolist() == [[16384] * 4]
    assert saturated == 0


def test_a_certain_element_saturates_at_the_largest_code() -> None:
    codes, saturated = run(np.array([[32767, -32768, -32768]], np.int16), 8)
    assert codes.tolist() == [[255, 0, 0]]
    assert saturated == 1


def test_adding_a_constant_changes_nothing() -> None:
    x = np.array([[-900, 20, 31, 400]], np.int16)
    assert np.array_equal(run(x, 16)[0], run(x + np.int16(7000), 16)[0])
