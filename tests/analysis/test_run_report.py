"""From runs to a page: what each part becomes, and that a missing part is missing."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from hqsim.analysis import run_report
from hqsim.analysis.run_charts import details, grids, layer_view, rooflines, timelines
from hqsim.analysis.run_folder import TABLES, Run
from hqsim.analysis.run_report import page_of, run_table
from hqsim.report import VerdictCard
from tests.report import run_frames as frames


def test_a_run_becomes_every_section():
    (run,) = page_of([frames.calm_run()]).runs
    empty = [field.name for field in fields(run) if not len(getattr(run, field.name))]
    assert empty == ["findings"]


def test_a_run_of_a_manifest_alone_is_a_page():
    page = page_of([Run(name="x", manifest={"settings": {}, "inputs": {}})])
    assert (page.title, page.comparison) == ("hqsim · x", None)


@pytest.mark.parametrize("part", [*TABLES, "arrays", "images"])
def test_any_part_may_be_missing(part):
    full = frames.calm_run()
    empty = {} if part in ("arrays", "images") else pd.DataFrame()
    (run,) = page_of([frames.calm_run(**{part: empty})]).runs
    assert run.name == full.name


def test_heatmaps_are_before_and_after_with_operands_told_apart():
    second = frames.activations().assign(operand=1, crest=9.0)
    both = pd.concat([frames.activations(), second], ignore_index=True)
    found = {grid.title: grid for grid in grids(frames.calm_run(activations=both))}
    assert {"SQNR, teacher-forced", "SQNR, free-running", "zero codes", "saturated codes"} <= set(found)
    crest = found["crest before the transform"]
    assert crest.rows[:2] == ("block.0.conv", "block.0.conv, operand 1")
    assert crest.layers[:2] == ("block.0.conv",) * 2
    assert crest.values[:2, 0].tolist() == [4.0, 9.0] and not crest.higher_is_better


def test_the_layer_table_joins_errors_and_cost_of_each_machine():
    errors = frames.errors()
    view = layer_view(frames.calm_run(errors=errors)).set_index("layer")
    worst = errors[(errors["layer"] == "block.3.conv") & (errors["mode"] == "free-running")]["sqnr_db"].min()
    assert view.loc["block.3.conv", "sqnr_free_running_db"] == worst
    assert view.loc["block.3.conv", f"utilization_percent[{frames.MACHINE}]"] == 50.0
    assert view.loc["block.3.conv", "share_percent"] == pytest.approx(100 / 12)


def test_a_timeline_counts_cycles_as_seconds():
    (timeline,) = timelines(frames.calm_run())
    span = timeline.spans[2]
    assert (span.start_s, span.length_s) == pytest.approx((2e-6, 1e-6))
    assert dict(zip(timeline.engines, span.busy_s, strict=True)) == pytest.approx(
        {"matrix": 9e-7, "hadamard": 1e-7, "vector": 5e-8, "requantize": 1e-8, "sram": 3e-7, "dram": 4e-7}
    )


def test_a_roofline_needs_the_machines_description():
    known = frames.calm_run()
    gone = frames.calm_run(cost=frames.cost(machine="/nowhere/mine.yaml"))
    assert [panel.machine for panel in rooflines(known)] == [frames.MACHINE]
    assert rooflines(gone) == () and len(timelines(gone)) == 1


def test_no_transform_and_the_recipes_own_come_first():
    arrays = {f"histogram/a/b/0/{name}": np.ones(40, np.int64) for name in ("channel-k3", "none", "recipe")}
    found = details(frames.calm_run(arrays={**arrays, "histogram_edges": frames.EDGES}))
    assert [one.transform for one in found["a/b"].histograms] == ["none", "recipe", "channel-k3"]


def test_a_large_page_keeps_the_layers_that_hurt_most(monkeypatch):
    monkeypatch.setattr(run_report, "DETAILED_LAYERS", 4)
    shares = frames.sensitivity().assign(share_percent=np.arange(12.0))
    page = page_of([frames.calm_run("a", sensitivity=shares), frames.calm_run("b", sensitivity=shares)])
    assert [list(run.details) for run in page.runs] == [["block.10.conv", "block.11.conv"]] * 2


def test_runs_of_one_recipe_are_numbered():
    page = page_of([frames.calm_run(), frames.calm_run()])
    assert [run.name for run in page.runs] == ["hqdm-channel-w4a4", "hqdm-channel-w4a4 (2)"]


def test_runs_without_a_comparison_are_compared_by_their_folders():
    plain = frames.layers().assign(transform="none", multiplier_bits=4)
    runs = {
        "plain": frames.calm_run("plain", layers=plain, quality=frames.quality(8.0)),
        "single": frames.calm_run("single", totals=frames.totals(2e9)),
    }
    table = run_table(runs)
    assert table[["run", "transform", "multiplier_bits", "sqnr_db", "energy_pj"]].to_numpy().tolist() == [
        ["plain", "none", 4, 8.0, 1e9],
        ["single", "single", 7, 10.0, 2e9],
    ]
    comparison = page_of(list(runs.values())).comparison
    assert [tradeoff.title.split(": ")[1] for tradeoff in comparison.tradeoffs] == [
        "quality over energy",
        "quality over latency",
    ]
    assert len(comparison.answers) == 3


def test_images_stand_beside_each_other_only_from_the_same_noise():
    same = [frames.calm_run("a"), frames.calm_run("b")]
    assert [strip.executor for strip in page_of(same).comparison.images] == ["float", "a", "b"]
    other = frames.calm_run("b")
    other.manifest["settings"]["seed"] = 1
    assert page_of([same[0], other]).comparison.images == ()


def test_colour_images_keep_their_channels():
    images = {"integer": np.zeros((2, 3, 4, 5), np.uint8), "labels": np.arange(2)}
    (run,) = page_of([frames.calm_run(images=images)]).runs
    assert run.images[0].codes.shape == (2, 4, 5, 3)


def test_given_cards_come_first():
    card = VerdictCard("checked", "0", "pass")
    (run,) = page_of([frames.calm_run()], cards={"hqdm-channel-w4a4": [card]}).runs
    assert run.cards[0] is card and len(run.cards) > 1
