"""Softmax rows, against Python integers."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hqsim.kernels.softmax import _divide, exponentials, softmax
from tests import naive
from tests.kernels.calls import exponential_table


@cache
def table_of(low_bits: int, length: int) -> np.ndarray:
    """Weights of the distances ``0 ... length - 1``."""
    table = np.full(length, 99, np.int32)
    exponentials(exponential_table(2.0**low_bits), exponential_table(1.0), np.int64(low_bits), table)
    return table


def run(x: np.ndarray, bits: int) -> tuple[np.ndarray, int]:
    reach = int(x.max()) - int(x.min())
    table = table_of(8, 2**16 if reach >= 2**12 else 2**12)
    codes = np.full(x.shape, 99, np.uint16)
    return codes, int(softmax(x, table, np.int64(bits), codes))


@pytest.mark.parametrize("low_bits", [6, 8])
def test_a_table_of_every_distance(low_bits: int) -> None:
    """One product of two entries and one rounding each."""
    high, low = exponential_table(2.0**low_bits).tolist(), exponential_table(1.0).tolist()
    distances = [0, 1, 2**low_bits - 1, 2**low_bits, 1000, 2001, 4095]
    expected = [naive.shifted(high[d >> low_bits] * low[d % 2**low_bits], 24) for d in distances]
    table = table_of(low_bits, 2**12)
    assert table[distances].tolist() == expected
    assert table[0] == 2**24
    assert (np.diff(table) <= 0).all()


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


@pytest.mark.parametrize("n", [3, 1000, 4096])
def test_the_division_is_exact_in_long_rows(n: int) -> None:
    """Equal codes: 2**16 / n, rounded half up; a reciprocal alone would be one too small for some n."""
    codes, _ = run(np.zeros((1, n), np.int16), 16)
    assert np.unique(codes).tolist() == [(2**17 + n) // (2 * n)]


@pytest.mark.parametrize("factor", [129, 255, 1001, 4097, 2**13 - 1])
@pytest.mark.parametrize("bits", [8, 16])
def test_quotients_at_and_beside_an_integer(bits: int, factor: int) -> None:
    """``S (2p - 1) = e 2**(bits+1)`` rounds to p exactly, where an estimate from below gives p - 1."""
    total = factor << 17
    exact = [(2 * p - 1) * factor << (16 - bits) for p in range(1, 2**bits)]
    weights = np.array([e + d for e in exact if e < 2**24 for d in (-1, 0, 1)][:1000], np.int32)
    codes, top = np.full(weights.shape, 99, np.uint16), 2**bits - 1
    _divide(weights, np.int64(total), np.int64(bits), np.int64(top), codes)
    expected = [((int(e) << (bits + 1)) + total) // (2 * total) for e in weights]
    assert codes.tolist() == [min(p, top) for p in expected]
    assert expected[:3] == [0, 1, 1]


def test_a_certain_element_saturates_at_the_largest_code() -> None:
    codes, saturated = run(np.array([[32767, -32768, -32768]], np.int16), 8)
    assert codes.tolist() == [[255, 0, 0]]
    assert saturated == 1


def test_adding_a_constant_changes_nothing() -> None:
    x = np.array([[-900, 20, 31, 400]], np.int16)
    assert np.array_equal(run(x, 16)[0], run(x + np.int16(7000), 16)[0])
