"""The data block: harmless inside a script element, and the numbers that the charts were given."""

import base64
import json
import math

import numpy as np
import pytest

from hqsim.report.block import block_of
from hqsim.report.data import Page, RunReport
from hqsim.report.details import LayerDetail, Profile
from hqsim.report.grid import Grid


def run_block(**parts):
    return json.loads(block_of(Page(title="t", runs=(RunReport(name="</script><!--&", **parts),))))["runs"][0]


def test_no_text_can_leave_the_script_element():
    text = block_of(Page(title="t", runs=(RunReport(name="</script><!--&\u2028"),)))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["runs"][0]["name"] == "</script><!--&\u2028"


def test_values_of_a_grid_are_rounded_and_what_is_not_finite_is_named():
    values = np.array([[1.23456, math.inf], [math.nan, -40.0]])
    grid = Grid(
        name="g", title="G", unit="dB", table="errors", rows=("a", "b"), layers=("a", "b"), steps=(0, 1),
        timesteps=("", ""), values=values,
    )  # fmt: skip
    (found,) = run_block(grids=(grid,))["grids"]
    assert found["values"] == [1.235, "inf", None, -40]
    assert found["labels"] == ["0", "1"] and found["layers"] is None


def test_a_packed_line_gives_its_values_back_within_a_place():
    maxima = np.array([0.0, 1.0, 7.5, 30.0], np.float32)
    detail = LayerDetail(
        profiles=(Profile(operand="activation", transform="none", axis="channel", maxima=maxima),)
    )
    (chart,) = run_block(details={"l": detail})["details"]["l"]["charts"]
    ((name, code),) = chart["packed"]
    places = np.frombuffer(base64.b64decode(code), "<u2").astype(float)
    values = chart["low"] + (places - 1) / 65534 * (chart["high"] - chart["low"])
    assert name == "none" and chart["x"] == [0, 1, 2, 3]
    assert values == pytest.approx(maxima, abs=30 / 65534)
