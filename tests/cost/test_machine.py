"""The values of a machine: energies by width, transform cycles."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.cost.machine import MultiplyEnergy
from tests.cost.builders import matrix_unit, quantity, toy_hardware, transform_unit


def points(*values):
    return tuple(
        MultiplyEnergy(energy_pj=quantity(pj, assumed=assumed), a_bits=a, w_bits=w)
        for a, w, pj, assumed in values
    )


def test_multiply_energy_is_the_point_else_the_nearest_covering_point_scaled():
    unit = matrix_unit(multiply=points((8, 8, 0.2, False), (16, 16, 1.0, True), (4, 4, 0.04, False)))
    assert unit.multiply_pj(8, 8) == quantity(0.2)
    assert unit.multiply_pj(4, 4) == quantity(0.04)
    # 9 x 4 bits: only 16 x 16 covers them.
    assert unit.multiply_pj(9, 4) == quantity(1.0 * 36 / 256, assumed=True)
    # 6 x 4 bits: 8 x 8 is the smallest that covers them.
    assert unit.multiply_pj(6, 4) == quantity(0.2 * 24 / 64)
    # Nothing covers 32 bits: the largest is scaled up.
    assert unit.multiply_pj(32, 16) == quantity(2.0, assumed=True)


@pytest.mark.parametrize(
    ("lanes", "stages", "order", "cycles"),
    [
        (32, 5, 5, 1),  # five stages of 32 points
        (32, 1, 5, 5),  # one stage, five times
        (16, 3, 5, 4),  # two passes of three stages, two cycles each
        (16, 3, 3, 0.5),  # two blocks of eight points side by side
    ],
)
def test_butterfly_cycles_by_hand(lanes, stages, order, cycles):
    assert transform_unit(lanes=lanes, stages=stages).block_cycles(order) == cycles


def test_a_dense_unit_adds_every_point_to_every_result():
    assert transform_unit(kind="dense", lanes=4, stages=1).block_cycles(3) == 64 / 4


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 64))
def test_butterfly_passes_cover_all_orders(order, stages, lanes):
    passes = next(count for count in itertools.count(1) if count * stages >= order)
    assert transform_unit(lanes=lanes, stages=stages).block_cycles(order) * lanes == passes * 2**order


def test_an_order_that_the_unit_lacks_is_the_vector_units():
    hardware = toy_hardware(hadamard=transform_unit(orders=(1, 2)))
    assert hardware.transform_unit(2) is hardware.hadamard
    assert hardware.transform_unit(3) is None
    assert toy_hardware(hadamard=None).transform_unit(1) is None
