"""Two runs beside each other, by tables made by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from hqsim.analysis.diff import diff_runs
from hqsim.analysis.run_folder import Run


def _run(**parts):
    manifest = {"settings": {"recipe": "a", "steps": 2}, "inputs": {"digits": "00"}}
    return Run(name="a", manifest=manifest, **parts)


@pytest.fixture
def first():
    return _run(
        layers=pd.DataFrame(
            {
                "layer": ["in", "mid", "out"],
                "storage_bits": [8, 4, 8],
                "transform": ["none", "none", "none"],
                "observed_bits": [np.nan, 17.0, np.nan],
            }
        ),
        errors=pd.DataFrame(
            {
                "layer": ["in", "in", "mid", "mid"],
                "mode": "alone",
                "step": [0, 1, 0, 1],
                "timestep": [500, 0, 500, 0],
                "sqnr_db": [30.0, 32.0, 10.0, 20.0],
            }
        ),
        cost=pd.DataFrame(
            {"machine": "npu", "name": ["in", "mid"], "latency_s": [1.0, 2.0], "energy_pj": [5.0, 6.0]}
        ),
        images={"float": np.zeros((1, 1, 2, 2), np.uint8)},
    )


def test_equal_runs_say_so(first):
    found = diff_runs(first, first)
    assert found.equal
    assert found.changes.empty and found.layers.empty and found.settings.empty
    states = found.parts.set_index("part")["state"]
    assert states["layers"] == states["errors"] == states["cost"] == states["images.safetensors"] == "equal"
    assert states["sensitivity"] == "in neither"


def test_every_change_of_a_layer_is_told(first):
    layers = first.layers.copy()
    layers.loc[1, ["storage_bits", "transform"]] = [8, "single width k5"]
    errors = first.errors.copy()
    errors.loc[3, "sqnr_db"] = 24.0  # mid: mean 15 becomes 17
    cost = first.cost.copy()
    cost.loc[1, "latency_s"] = 3.0  # half as much again
    found = diff_runs(first, dataclasses.replace(first, layers=layers, errors=errors, cost=cost))
    assert not found.equal
    (row,) = found.layers.to_dict("records")
    assert row["layer"] == "mid"
    assert row["formats"] == "storage_bits 4 -> 8; transform none -> single width k5"
    assert row["alone_change_db"] == pytest.approx(2.0)
    assert row["latency_change_percent"] == pytest.approx(50.0)
    assert np.isnan(row["energy_change_percent"])
    assert found.machine == "npu"
    counts = found.parts.set_index("part")[["rows", "changed"]]
    assert counts.loc["layers"].tolist() == [3, 1]
    assert counts.loc["errors"].tolist() == [2, 1]


def test_a_missing_figure_is_no_change_and_a_new_one_is(first):
    layers = first.layers.copy()
    layers.loc[0, "observed_bits"] = 12.0
    found = diff_runs(first, dataclasses.replace(first, layers=layers))
    assert found.layers["formats"].tolist() == ["observed_bits none -> 12"]


def test_layers_and_parts_of_one_run_alone(first):
    second = dataclasses.replace(first, name="b", layers=first.layers[:2], cost=pd.DataFrame(), images={})
    found = diff_runs(first, second)
    states = found.parts.set_index("part")["state"]
    assert states["cost"] == states["images.safetensors"] == "only in the first (a)"
    assert found.layers.to_dict("records")[0]["formats"] == "only in a"
    assert found.layers["layer"].tolist() == ["out"]


def test_settings_that_differ(first):
    manifest = {"settings": {"recipe": "a", "steps": 3}, "inputs": {"digits": "01"}}
    found = diff_runs(first, dataclasses.replace(first, manifest=manifest))
    assert found.settings.to_dict("list") == {
        "what": ["steps", "digits"],
        "first": [2, "00"],
        "second": [3, "01"],
    }
    assert found.equal  # what was measured is


def test_arrays_are_compared_by_value(first):
    other = {"float": np.ones((1, 1, 2, 2), np.uint8), "labels": np.array([0])}
    row = diff_runs(first, dataclasses.replace(first, images=other)).parts.set_index("part")
    assert row.loc["images.safetensors"].tolist() == ["different", 2, 2]
