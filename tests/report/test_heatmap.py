import math

import pandas as pd
import pytest

from hqsim.errors import InputError
from hqsim.report import RunReport
from hqsim.report.heatmap import heatmap_of, step_grids
from hqsim.report.scale import luminance


def frame(rows):
    return pd.DataFrame(rows, columns=["layer", "step", "mode", "sqnr_db"])


def cells(heatmap):
    return [[cell for cell in row.cells] for band in heatmap.bands for row in band.rows]


HAND_MADE = frame(
    [("b", step, "free-running", 10.0 * step) for step in range(4)]
    + [("a", 0, "free-running", math.inf), ("a", 1, "free-running", math.nan), ("a", 3, "free-running", 5.0)]
)


def test_there_is_a_cell_for_every_layer_and_step():
    (grid,) = step_grids(HAND_MADE, pd.DataFrame())
    drawn = cells(heatmap_of(grid))
    assert [len(row) for row in drawn] == [4, 4]
    assert [cell.kind for cell in drawn[1]] == ["exact", "missing", "missing", "value"]
    assert [cell.x_percent for cell in drawn[0]] == ["0.000", "25.000", "50.000", "75.000"]


def test_a_higher_sqnr_is_lighter():
    (grid,) = step_grids(HAND_MADE, pd.DataFrame())
    lightness = [luminance(cell.colour) for cell in cells(heatmap_of(grid))[0]]
    assert lightness == sorted(lightness) and len(set(lightness)) == 4


def test_rows_follow_the_order_of_execution_and_strangers_come_last():
    layers = pd.DataFrame({"layer": ["a", "b"]})
    steps = frame([(name, 0, "teacher-forced", 1.0) for name in ("stranger", "b", "a")])
    assert step_grids(steps, layers)[0].layers == ("a", "b", "stranger")


def test_modes_share_rows_and_columns_in_a_fixed_order():
    steps = frame([("a", 3, "free-running", 1.0), ("a", 1, "teacher-forced", 2.0)])
    first, second = step_grids(steps, pd.DataFrame())
    assert (first.mode, second.mode) == ("teacher-forced", "free-running")
    assert first.steps == second.steps == (1, 3)
    assert math.isnan(first.sqnr_db[0, 1]) and second.sqnr_db[0, 1] == 1.0


def test_the_tooltip_says_where_and_how_much():
    steps = frame([("conv_in", 2, "free-running", 41.26)]).assign(
        timestep=900, mismatch_percent=0.031, max_lsb=1
    )
    (grid,) = step_grids(steps, pd.DataFrame())
    assert cells(heatmap_of(grid))[0][0].tooltip == (
        "conv_in, step 2, t = 900: 41.3 dB, 0.031 % of codes differ, at most 1 LSB"
    )


def test_worst_is_the_lowest_measured_value():
    (grid,) = step_grids(HAND_MADE, pd.DataFrame())
    rows = [row for band in heatmap_of(grid).bands for row in band.rows]
    assert [(row.name, row.worst) for row in rows] == [("b", "0.0"), ("a", "5.0")]
    (grid,) = step_grids(frame([("a", 0, "free-running", math.inf)]), pd.DataFrame())
    assert heatmap_of(grid).bands[0].rows[0].worst == "exact"
    (grid,) = step_grids(frame([("a", 0, "free-running", math.nan)]), pd.DataFrame())
    assert heatmap_of(grid).bands[0].rows[0].worst == "\u2013"


def test_blocks_of_the_model_become_bands_and_long_ones_continue():
    names = ["conv_in"] + [f"down.{index}" for index in range(50)] + ["conv_out"]
    (grid,) = step_grids(frame([(name, 0, "free-running", 1.0) for name in names]), pd.DataFrame())
    bands = heatmap_of(grid).bands
    assert [(len(band.rows), band.opens_block) for band in bands] == [
        (1, True),
        (40, True),
        (10, False),
        (1, True),
    ]


def test_names_without_blocks_are_not_torn_apart():
    names = [f"node_{index}" for index in range(30)]
    (grid,) = step_grids(frame([(name, 0, "free-running", 1.0) for name in names]), pd.DataFrame())
    assert [len(band.rows) for band in heatmap_of(grid).bands] == [30]


def test_many_steps_get_few_labels():
    (grid,) = step_grids(frame([("a", step, "free-running", 1.0) for step in range(100)]), pd.DataFrame())
    labels = heatmap_of(grid).step_labels
    assert len(labels) == 20
    assert labels[1] == ("5.500", "5")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            HAND_MADE.drop(columns="mode"),
            r"^step_layers: missing column\(s\) mode; needed are layer, step, mode, sqnr_db",
        ),
        (
            HAND_MADE.assign(mode="forced"),
            r"^step_layers: mode is 'forced', allowed are teacher-forced, free-running",
        ),
        (
            pd.concat([HAND_MADE, HAND_MADE.tail(1)]),
            r"^step_layers: layer 'a', step 3, mode 'free-running' occurs more",
        ),
    ],
)
def test_a_frame_that_cannot_be_drawn_is_refused(steps, message):
    with pytest.raises(InputError, match=message):
        RunReport(title="x", step_layers=steps)
