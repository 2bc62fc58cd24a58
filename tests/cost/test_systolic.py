"""Closed forms against an array that is stepped cycle by cycle."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.cost import systolic_run


def naive_fold_cycles(rows, cols, stream, *, load):
    """Last cycle in which a cell works, counted from 1: cell (r, c) starts r + c cycles late."""
    last = max(load + step + r + c for step in range(stream) for r in range(rows) for c in range(cols))
    return last + 1


def naive_folds(spatial_rows, spatial_cols, rows, cols):
    return len(list(itertools.product(range(0, spatial_rows, rows), range(0, spatial_cols, cols))))


@pytest.mark.parametrize(("m", "n", "k"), [(5, 3, 7), (1, 1, 1), (8, 4, 6), (2, 9, 1)])
@pytest.mark.parametrize(("rows", "cols"), [(2, 2), (3, 4), (1, 5)])
def test_cycles_of_a_stepped_array(m, n, k, rows, cols):
    shapes = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}
    for dataflow, (spatial_rows, spatial_cols, stream) in shapes.items():
        run = systolic_run(m, n, k, rows=rows, cols=cols, dataflow=dataflow)
        load = 0 if dataflow == "os" else rows
        folds = naive_folds(spatial_rows, spatial_cols, rows, cols)
        assert run.folds == folds
        assert run.cycles == folds * naive_fold_cycles(rows, cols, stream, load=load)
        assert run.utilization == m * n * k / (run.cycles * rows * cols)


def test_operand_words_by_hand():
    # 6 x 5 outputs over K = 7 on 4 x 2 cells.
    os_run = systolic_run(6, 5, 7, rows=4, cols=2, dataflow="os")
    assert (os_run.row_folds, os_run.col_folds) == (2, 3)
    assert (os_run.a_reads, os_run.w_reads, os_run.partial_sum_writes) == (6 * 7 * 3, 5 * 7 * 2, 30)
    ws_run = systolic_run(6, 5, 7, rows=4, cols=2, dataflow="ws")
    assert (ws_run.row_folds, ws_run.col_folds) == (2, 3)
    assert (ws_run.a_reads, ws_run.w_reads, ws_run.partial_sum_writes) == (6 * 7 * 3, 35, 60)
    is_run = systolic_run(6, 5, 7, rows=4, cols=2, dataflow="is")
    assert (is_run.row_folds, is_run.col_folds) == (2, 3)
    assert (is_run.a_reads, is_run.w_reads, is_run.partial_sum_writes) == (42, 5 * 7 * 3, 60)
    assert os_run.mapping_efficiency == 30 / (6 * 8)


def test_best_takes_the_fewest_cycles():
    runs = {
        flow: systolic_run(100, 4, 4, rows=4, cols=4, dataflow=flow).cycles for flow in ("os", "ws", "is")
    }
    assert runs == {"os": 25 * 10, "ws": 110, "is": 25 * 14}
    assert systolic_run(100, 4, 4, rows=4, cols=4, dataflow="best").dataflow == "ws"


def test_arrays_share_the_folds_of_all_products():
    # 3 products of 1 x 2 folds each on 4 arrays: two rounds of 5 + 2 * 2 + 2 - 2 = 9 cycles.
    run = systolic_run(5, 4, 2, rows=2, cols=2, dataflow="ws", count=3, arrays=4)
    assert run.folds == 6
    assert run.cycles == 2 * 9
    assert run.utilization == 3 * 40 / (18 * 4 * 4)


sizes = st.integers(1, 60)


@given(sizes, sizes, sizes, st.integers(1, 20), st.integers(1, 20), st.integers(0, 9), st.integers(0, 9))
def test_more_cells_never_more_folds(m, n, k, rows, cols, more_rows, more_cols):
    for dataflow in ("os", "ws", "is"):
        small = systolic_run(m, n, k, rows=rows, cols=cols, dataflow=dataflow)
        large = systolic_run(m, n, k, rows=rows + more_rows, cols=cols + more_cols, dataflow=dataflow)
        assert large.folds <= small.folds
        assert small.cycles * rows * cols >= m * n * k
        assert 0 < small.mapping_efficiency <= 1
