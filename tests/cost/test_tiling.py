import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.cost.tiling import Reloads, TileProblem, reloads, tile_capacity_bytes
from hqsim.errors import UnsupportedError
from tests.cost.builders import memory


def int8_problem(m, n, k):
    return TileProblem(
        m=m, n=n, a_bytes=m * k, w_bytes=k * n, a_held_bytes=m * k, a_row_bytes=k, w_col_bytes=k,
        a_element_bytes=1, w_element_bytes=1, sum_bytes=4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "capacity", "expected"),
    [
        # 4 x 4 x 4: a weight stripe takes 4 + 8 n_t bytes: 2 columns in 20 bytes, all 4 in 36.
        ((4, 4, 4), 20, Reloads(a_times=2, w_times=1)),
        ((4, 4, 4), 36, Reloads(a_times=1, w_times=1)),
        # 2 rows against 64 columns of K = 8: both rows with a sum each take 2 * 12 beside two vectors of 8.
        ((2, 64, 8), 40, Reloads(a_times=1, w_times=1)),
        # K too long for any stripe: a block of 2 x 2 partial sums takes 2 + 16 + 2 of 20 bytes.
        ((4, 4, 100), 20, Reloads(a_times=2, w_times=2)),
    ],
)
def test_reloads_by_hand(shape, capacity, expected):
    assert reloads(int8_problem(*shape), capacity_bytes=capacity, layer="fc", level="sram") == expected


def test_a_layer_that_fits_nowhere_is_named():
    with pytest.raises(UnsupportedError, match=r"layer 'fc' does not fit memory 'sram': .* takes 6; make"):
        reloads(int8_problem(4, 4, 4), capacity_bytes=5, layer="fc", level="sram")


def test_double_buffering_halves_the_tile():
    assert tile_capacity_bytes(memory("sram", 1000, 8)) == 500
    assert tile_capacity_bytes(memory("sram", 1000, 8, double_buffered=False)) == 1000


@given(
    st.integers(1, 100), st.integers(1, 100), st.integers(1, 100), st.integers(6, 5000), st.integers(0, 500)
)
def test_a_larger_memory_never_moves_more(m, n, k, capacity, more):
    problem = int8_problem(m, n, k)
    moved = []
    for size in (capacity, capacity + more):
        times = reloads(problem, capacity_bytes=size, layer="fc", level="sram")
        moved.append(problem.a_bytes * times.a_times + problem.w_bytes * times.w_times)
    assert moved[1] <= moved[0]
    assert moved[1] >= problem.a_bytes + problem.w_bytes


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.integers(20, 900))
def test_a_wider_held_operand_never_moves_less(m, n, k, capacity):
    problem = int8_problem(m, n, k)
    wider = dataclasses.replace(problem, a_held_bytes=2 * m * k, a_row_bytes=2 * k, a_element_bytes=2)
    moved = []
    for case in (problem, wider):
        times = reloads(case, capacity_bytes=capacity, layer="fc", level="sram")
        moved.append(case.a_bytes * times.a_times + case.w_bytes * times.w_times)
    assert moved[0] <= moved[1]
