"""Hadamard algebra, against the popcount definition and brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from hqsim.numerics import Transform, block_order, block_signs, operand_range, sylvester
from tests import naive

# OEIS A020985, the Rudin-Shapiro sequence, first 32 terms.
A020985 = """
1, 1, 1, -1, 1, 1, -1, 1, 1, 1, 1, -1, -1, -1, 1, -1,
1, 1, 1, -1, 1, 1, -1, 1, -1, -1, -1, 1, 1, 1, -1, 1
"""


@pytest.mark.parametrize("order", range(7))
def test_sylvester_is_the_popcount_matrix_and_orthogonal(order: int) -> None:
    matrix, n = sylvester(order), 2**order
    assert matrix.tolist() == naive.hadamard(n)
    assert (matrix @ matrix.T == n * np.eye(n, dtype=np.int64)).all()
    assert (matrix == matrix.T).all()


@pytest.mark.parametrize(
    ("length", "order", "largest", "identity"),
    [
        (96, 5, 5, 5),
        (160, 5, 5, 5),
        (160, 6, 5, 0),
        (8, 5, 3, 0),
        (8, 3, 3, 3),
        (12, 5, 2, 0),
        (5, 5, 0, 0),
        (1, 3, 0, 0),
        (64, 0, 0, 0),
    ],
)
def test_block_order(length: int, order: int, largest: int, identity: int) -> None:
    assert block_order(length, order, "largest_pow2") == largest
    assert block_order(length, order, "identity") == identity


def test_blocks_always_divide_the_axis() -> None:
    for length, order in product(range(1, 200), range(7)):
        chosen = block_order(length, order, "largest_pow2")
        assert length % 2**chosen == 0
        assert chosen == order or length % 2 ** (chosen + 1)


def test_signs_are_the_rudin_shapiro_sequence() -> None:
    expected = [int(term) for term in A020985.split(",")]
    assert block_signs(5).tolist() == expected
    assert naive.rudin_shapiro(32) == expected


@pytest.mark.parametrize("order", range(7))
def test_signs_have_a_flat_spectrum_and_start_with_one(order: int) -> None:
    signs, n = block_signs(order), 2**order
    spectrum = {abs(int(c)) for c in sylvester(order) @ signs}
    assert signs[0] == 1
    assert set(np.abs(signs)) == {1}
    if order % 2 == 0:
        assert spectrum == {int(n**0.5)}
    else:
        assert spectrum == {0, int((2 * n) ** 0.5)}


@pytest.mark.parametrize(
    ("low", "high", "order"),
    [
        (-2, 1, 1),
        (-2, 1, 2),
        (-2, 1, 3),
        (-1, 1, 2),
        (-4, 3, 2),
        (-8, 7, 1),
        (0, 3, 2),
        (0, 1, 3),
        (-3, 3, 0),
    ],
)
def test_operand_range_is_reached_and_never_passed(low: int, high: int, order: int) -> None:
    codes = np.array(list(product(range(low, high + 1), repeat=2**order)))
    plain = codes @ np.array(naive.hadamard(2**order))
    signed = plain * naive.rudin_shapiro(2**order)
    assert (plain.min(), plain.max()) == operand_range(low, high, order)
    # Signs flip some of the differences, whose range is symmetric, and never the sum in element 0.
    assert (signed.min(), signed.max()) == operand_range(low, high, order)


def test_operand_range_of_the_paper() -> None:
    """NUMERICS.md section 5: W4A4 with k = 5 is a 9-bit operand."""
    assert operand_range(-8, 7, 5) == (-256, 240)


def test_all_outputs_of_a_block_share_parity() -> None:
    """NUMERICS.md section 5: exhaustive for 2 bits, order 2, and for 3 bits, order 1."""
    for low, high, order in ((-2, 1, 2), (-4, 3, 1)):
        codes = np.array(list(product(range(low, high + 1), repeat=2**order)))
        parity = (codes @ sylvester(order)) % 2
        assert (parity == parity[:, :1]).all()


def test_transform_size() -> None:
    assert [Transform("width", order, False).size for order in (0, 3, 5)] == [1, 8, 32]
