"""Packed weights: what they hold, how large they are, what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from hqsim.errors import InputError
from hqsim.ops import WeightCodes


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
def test_codes_come_back_and_take_their_bits(bits: int) -> None:
    high = 2 ** (bits - 1) - 1
    codes = np.random.default_rng(0).integers(-high, high + 1, (16, 3, 3, 3)).astype(np.int8)
    weight = WeightCodes.of(codes, np.ones(16), bits)
    assert weight.shape == codes.shape
    assert weight.scales.shape == (16, 1)
    assert weight.packed.nbytes == codes.size * bits // 8
    assert weight.codes.dtype == np.int8
    np.testing.assert_array_equal(weight.codes, codes)


def test_two_codes_of_4_bits_share_a_byte() -> None:
    assert WeightCodes.of(np.array([[1, -2]], np.int8), np.ones(1), 4).packed.tolist() == [0xE1]


def test_a_wrong_length_is_refused() -> None:
    message = "6 codes of 4 bits (shape (2, 3)) take 3 bytes, not 4"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        WeightCodes(np.zeros(4, np.uint8), (2, 3), np.ones((2, 1)), 4)


def test_scales_per_timestep_share_the_codes() -> None:
    codes = np.array([[1, -2], [3, 4]], np.int8)
    table = np.array([[[1.0], [2.0]], [[4.0], [8.0]], [[16.0], [32.0]]])
    stepped, static = WeightCodes.of(codes, table, 4), WeightCodes.of(codes, table[0], 4)
    np.testing.assert_array_equal(stepped.packed, static.packed)
    np.testing.assert_array_equal(stepped.scale_table, table)
    assert stepped.scales_at(1).tolist() == [[4.0], [8.0]]
    assert static.scale_table.shape == (1, 2, 1)
    assert static.scales_at(2).tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("shape", [(3, 1), (4, 3, 1), (2,), (1, 1, 2, 1)])
def test_scales_of_another_weight_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"^scales of a weight of shape \(2, 3\): got shape \("):
        WeightCodes(np.zeros(3, np.uint8), (2, 3), np.ones(shape), 4)
