"""From runs to a page: what each part becomes, and that a missing part is missing."""

import shutil
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from hqsim.analysis import run_report
from hqsim.analysis.compare import Comparison
from hqsim.analysis.run_charts import details, grids, layer_view, rooflines, timelines
from hqsim.analysis.run_folder import TABLES, Run, read_run, write_run
from hqsim.analysis.run_report import page_of, run_table
from hqsim.analysis.trace import trace
from hqsim.models import load_model
from hqsim.quantize import quantize
from hqsim.report import VerdictCard, write_report
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


def test_a_model_folder_called_script_is_harmless(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("hqsim.report.page.drawings_of", lambda page: ())
    folder = shutil.copytree(tiny_folder, tmp_path / "<script>alert(1)<")
    qmodel = quantize(load_model(folder), "ptq-w8a8", steps=1, images=1)
    run = trace(qmodel, parts=["cost"], steps=1, images=1, machines=[frames.MACHINE])
    written = write_run(tmp_path / "run", run)
    text = write_report(page_of([read_run(written)]), tmp_path).read_text(encoding="utf-8")
    assert "<h1>&lt;script&gt;alert(1)&lt; · ptq-w8a8</h1>" in text
    assert "<script>alert" not in text


MANY = [
    ("none", "none", False, True), ("single", "width", False, True), ("single", "width", True, True),
    ("single", "channel", False, False), ("double", "none", False, True), ("double", "channel", False, False),
]  # fmt: skip


def _grid(count):
    """Return runs and their comparison: run ``index`` has SQNR ``index`` and 0.1 mJ more than the last."""
    runs = [frames.calm_run(f"r{index}", quality=frames.quality(float(index))) for index in range(count)]
    rows = []
    for index, run in enumerate(runs):
        kind, axis, signs, symmetric = MANY[index % len(MANY)]
        rows.append(
            {
                "run": run.name, "method": "m", "transform": kind, "axis": axis, "signs": signs, "order": 5,
                "symmetric": symmetric, "trained": False, "multiplier_bits": 4, "sqnr_db": 1.0 * index,
                "sqnr_low_db": index - 0.5, "sqnr_high_db": index + 0.5, "psnr_db": np.nan, "machine": "m",
                "latency_s": 1e-3, "energy_pj": 1e9 + 1e8 * index, "dram_bytes": 1e4,
                "pareto_energy": True, "pareto_latency": index == count - 1,
            }
        )  # fmt: skip
    table = pd.DataFrame(rows)
    return runs, Comparison(table=table, claims=pd.DataFrame(), left_out=pd.DataFrame())


def test_the_compared_table_says_once_what_all_runs_share():
    runs, comparison = _grid(4)
    page = page_of(runs, comparison).comparison
    assert page.common == "order 5, trained no"
    choices = ["run", "transform", "symmetric"]
    costs = ["latency_s", "energy_pj", "dram_bytes", "pareto_energy", "pareto_latency"]
    assert page.views == {
        "quality": [*choices, "sqnr_db", "sqnr_interval"],
        "widths": [*choices, "sqnr_db", "multiplier_bits"],
        "m": ["run", "sqnr_db", *(f"{name}[m]" for name in costs)],
    }
    assert page.view["transform"].tolist() == ["none", "single width", "single width signs", "single channel"]
    assert page.view["sqnr_interval"][3] == "2.5 to 3.5"
    assert page.view["energy_pj[m]"].tolist() == [1e9, 1.1e9, 1.2e9, 1.3e9]


def test_many_points_are_coloured_by_transform_and_few_by_name():
    few, many = (page_of(*_grid(count)).comparison.tradeoffs[0] for count in (4, 13))
    assert [point.group for point in few.points] == ["r0", "r1", "r2", "r3"]
    assert (few.hollow, any(point.hollow for point in few.points)) == ("", False)
    assert [point.group for point in many.points[:2]] == ["none", "single width"]
    assert [point.hollow for point in many.points[:6]] == [False, False, False, True, False, True]
    assert many.hollow == "asymmetric operands"


def test_of_many_runs_those_on_a_front_are_shown_whole():
    runs, comparison = _grid(13)
    comparison.table.loc[:, "pareto_energy"] = comparison.table["run"].isin(["r3", "r4"])
    whole = [run.name for run in page_of(runs, comparison).runs if run.timelines]
    assert whole == ["r3", "r4", "r12"]
    assert len([run for run in page_of(runs).runs if run.timelines]) == 12


def test_of_many_runs_ten_images_are_compared():
    for count, shown in ((2, 15), (13, 10)):
        runs = [frames.calm_run(f"r{index}", images=frames.images(15)) for index in range(count)]
        comparison = page_of(runs).comparison
        assert {len(strip.codes) for strip in comparison.images} == {shown}
        assert len(comparison.image_labels) == shown


def test_given_cards_come_first():
    card = VerdictCard("checked", "0", "pass")
    (run,) = page_of([frames.calm_run()], cards={"hqdm-channel-w4a4": [card]}).runs
    assert run.cards[0] is card and len(run.cards) > 1
