"""The interpolated gate, against Python integers."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.lut import gate
from tests import naive
from tests.kernels.calls import sigmoid_table

I16 = (-32768, 32767)


def run(
    x: np.ndarray, address: tuple[int, int], factor: tuple[int, int], limits: tuple[int, int] = I16
) -> tuple[np.ndarray, int]:
    codes = np.full(x.shape, 99, np.int16)
    numbers = [np.int64(value) for value in (*address, *factor, *limits)]
    saturated = gate(x, sigmoid_table(), np.int64(20), *numbers, codes)
    return codes, int(saturated)


@pytest.mark.parametrize("address", [(16384, 14), (20000, 15), (32767, 12), (16384, 20)])
@pytest.mark.parametrize("limits", [I16, (-2000, 1500)])
def test_codes(address: tuple[int, int], limits: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-32768, 32768, 300).astype(np.int16)
    x[:8] = [-32768, -32767, -128, -1, 0, 1, 127, 32767]
    factor = (30000, 42)
    expected, clipped = naive.gate(x, sigmoid_table().tolist(), 20, address, factor, *limits)
    codes, saturated = run(x, address, factor, limits)
    assert np.array_equal(codes, expected)
    assert saturated == clipped


def test_far_from_zero_it_is_the_identity_or_nothing() -> None:
    """At 2**-11 per code the table ends at ±16, where 1 - sigmoid is below half of its last bit."""
    x = np.array([-32768, 0, 32767], np.int16)
    codes, _ = run(x, (16384, 13), (16384, 41))
    assert codes.tolist() == [0, 0, 32767]


def test_at_a_knot_it_is_the_table() -> None:
    """Codes of 2**-12: code 128 i sits on entry i, so the result is code * (1 - table[i])."""
    entry = 40
    x = np.array([-128 * entry, 128 * entry], np.int16)
    codes, _ = run(x, (16384, 14), (16384, 41))
    complement = 1 / (1 + np.exp(entry / 32))
    assert abs(codes[0] + 128 * entry * complement) <= 0.51
    assert abs(codes[1] - 128 * entry * (1 - complement)) <= 0.51
