"""The comparison of transforms on a small model: ratios, refusals, what must hold of the realisations."""

import numpy as np
import pytest

from hqsim.analysis.estimate import estimate
from hqsim.analysis.hadamard_cost import FIGURES, TRANSFORMS, hadamard_costs

MACHINES = ("edge-npu-16x16", "hq-npu-w4a9")


@pytest.fixture(scope="module")
def table(tiny_model):
    return hadamard_costs(tiny_model, MACHINES, widths=("w4a4",), steps=4)


def ratio(table, machine, transform, figure):
    row = table[(table["machine"] == machine) & (table["transform"] == transform)]
    return float(row[f"{figure}_ratio"].iloc[0])


def test_one_row_for_every_machine_and_transform(table):
    assert len(table) == len(MACHINES) * len(TRANSFORMS)
    plain = table[table["transform"] == "none"]
    assert np.all(plain[["latency_ratio", "energy_ratio", "dram_ratio"]] == 1.0)


def test_figures_are_those_of_the_estimate(table, tiny_model):
    run = estimate(tiny_model, "hq-npu-w4a9", recipe="hqdm-w4a4", steps=4, realisation="runtime").total["run"]
    row = table[(table["machine"] == "hq-npu-w4a9") & (table["transform"] == "width, run time")].iloc[0]
    expected = (run["latency_s"] / 4, run["energy_pj"]["total"] / 4, run["dram_bytes"] / 4)
    assert tuple(row[list(FIGURES)]) == pytest.approx(expected)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("axis", ["width", "channel"])
def test_the_best_realisation_is_no_slower_than_any_other(table, machine, axis):
    others = [t.name for t in TRANSFORMS if t.name.startswith(axis) and not t.name.endswith("best")]
    ratios = [ratio(table, machine, name, "latency") for name in others]
    assert ratio(table, machine, f"{axis}, best", "latency") <= np.nanmin(ratios) * (1 + 1e-9)


@pytest.mark.parametrize("machine", MACHINES)
def test_folded_weights_move_more_bytes_than_the_block_sums_of_parity(table, machine):
    """With order 3: 4 + 3 bits for each of 8 weights, or once for all of them."""
    run_time, folded = (ratio(table, machine, f"channel, {name}", "dram") for name in ("run time", "folded"))
    parity = ratio(table, machine, "channel, parity", "dram")
    assert run_time < folded
    assert np.isnan(parity) or run_time < parity < folded


def test_a_machine_without_parity_refuses_with_the_reason(table):
    refused = table[(table["machine"] == "edge-npu-16x16") & (table["refused"] != "")]
    assert set(refused["transform"]) == {"width, parity", "channel, parity"}
    assert refused["refused"].str.contains("cannot run by parity").all()
    assert refused[list(FIGURES)].isna().all(axis=None)
    assert (table[table["machine"] == "hq-npu-w4a9"]["refused"] == "").all()
