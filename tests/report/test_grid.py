import math

import pandas as pd
import pytest

from hqsim.errors import InputError
from hqsim.report.grid import grid_of

ROWS = [("b", step, 10.0 * step) for step in range(4)]
HAND_MADE = pd.DataFrame(
    [*ROWS, ("a", 0, math.inf), ("a", 1, math.nan), ("a", 3, 5.0)], columns=["layer", "step", "sqnr_db"]
)


def grid(frame, **options):
    return grid_of(frame, "sqnr_db", name="g", title="G", unit="dB", table="errors", **options)


def test_there_is_a_value_for_every_row_and_step():
    found = grid(HAND_MADE)
    assert (found.rows, found.steps) == (("b", "a"), (0, 1, 2, 3))
    assert found.values[0].tolist() == [0, 10, 20, 30]
    assert (
        found.values[1, 0] == math.inf and math.isnan(found.values[1, 1]) and math.isnan(found.values[1, 2])
    )


def test_rows_follow_the_order_of_execution_and_strangers_come_last():
    frame = pd.DataFrame({"layer": ["stranger", "b", "a"], "step": 0, "sqnr_db": 1.0})
    assert grid(frame, order=("a", "b")).rows == ("a", "b", "stranger")


def test_operands_of_a_layer_are_rows_of_their_own_beside_it():
    frame = pd.DataFrame(
        {"layer": ["m", "a", "m"], "row": ["m", "a", "m, operand 1"], "step": 0, "sqnr_db": [1.0, 2.0, 3.0]}
    )
    found = grid(frame, order=("a", "m"))
    assert found.rows == ("a", "m", "m, operand 1")
    assert found.layers == ("a", "m", "m")


def test_columns_are_timesteps_where_they_are_known():
    assert grid(HAND_MADE).column_labels == ("0", "1", "2", "3")
    found = grid(HAND_MADE.assign(timestep=900 - 100 * HAND_MADE["step"]))
    assert (found.axis, found.column_labels) == ("timestep", ("900", "800", "700", "600"))


def test_the_worst_is_dark_whichever_end_that_is():
    low, high = grid(HAND_MADE), grid(HAND_MADE, higher_is_better=False)
    assert low.darkness(0.0) == high.darkness(30.0) == 0.0
    assert low.darkness(30.0) == high.darkness(0.0) == 1.0


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(), HAND_MADE.drop(columns="sqnr_db"), HAND_MADE.assign(sqnr_db=math.nan)]
)
def test_nothing_measured_no_grid(frame):
    assert grid(frame) is None


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (HAND_MADE.drop(columns="step"), r"^errors: missing column\(s\) step, got layer, sqnr_db"),
        (pd.concat([HAND_MADE, HAND_MADE.tail(1)]), r"^errors: 'a' at step 3 occurs more than once"),
    ],
)
def test_a_frame_that_cannot_be_drawn_is_refused(frame, message):
    with pytest.raises(InputError, match=message):
        grid(frame)
