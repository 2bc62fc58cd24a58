"""Findings: a calm run has none, and every rule finds what was planted for it, with the layers named."""

import numpy as np
import pytest

from hqsim.analysis.findings import RULES, findings
from tests.report import run_frames as frames

NAMES = frames.LAYERS


def planted(frame, where, **values):
    """Return ``frame`` with ``values`` where ``where`` holds."""
    frame = frame.copy()
    for column, value in values.items():
        frame[column] = frame[column].astype(object) if isinstance(value, str) else frame[column]
        frame.loc[where(frame), column] = value
    return frame


def one(run, rule):
    """Return the single finding of ``rule``; no other rule may speak."""
    found = findings(run)
    assert [finding.rule for finding in found] == [rule]
    return found[0]


def test_a_calm_run_has_no_findings():
    assert findings(frames.calm_run()) == ()


def test_a_run_of_nothing_has_no_findings():
    empty = {
        name: frames.layers().iloc[:0, :0]
        for name in (
            "layers", "activations", "codes", "errors", "sensitivity", "growth", "quality", "cost", "totals",
        )
    }  # fmt: skip
    assert findings(frames.calm_run(arrays={}, **empty)) == ()


def test_a_sum_beyond_32_bits():
    run = frames.calm_run(
        layers=planted(frames.layers(), lambda f: f["layer"] == NAMES[3], accumulator_bits=34)
    )
    found = one(run, "wide_accumulator")
    assert "accumulator of 34 bits" in found.text and "1 layer " in found.text
    assert found.layers == (NAMES[3],)


@pytest.mark.parametrize(("layer", "word"), [(NAMES[0], "first"), (NAMES[-1], "last")])
def test_an_edge_that_dominates(layer, word):
    even = frames.sensitivity().assign(share_percent=79 / 11)
    sensitivity = planted(even, lambda f: f["layer"] == layer, share_percent=21.0)
    found = one(frames.calm_run(sensitivity=sensitivity), "dominant_edge")
    assert found.text == f"The {word} layer dominates the error: 21 % of it come from {layer}."
    assert found.layers == (layer,)


def test_a_layer_in_the_middle_is_no_edge():
    even = frames.sensitivity().assign(share_percent=79 / 11)
    sensitivity = planted(even, lambda f: f["layer"] == NAMES[5], share_percent=21.0)
    assert findings(frames.calm_run(sensitivity=sensitivity)) == ()


def test_few_layers_with_half_of_the_error():
    worst = [NAMES[index] for index in (2, 4, 6, 8, 10)]
    sensitivity = planted(frames.sensitivity(), lambda f: f["layer"].isin(worst), share_percent=15.0)
    found = one(frames.calm_run(sensitivity=sensitivity), "few_layers")
    assert found.text == "5 of 12 layers cause 75 % of the final error."
    assert set(found.layers) == set(worst)


def test_a_transform_that_hurts():
    activations = planted(
        frames.activations(),
        lambda f: (f["layer"] == NAMES[2]) & (f["transform"] == "recipe"),
        sqnr_4bit_db=19.2,
        crest=9.0,
    )
    found = one(frames.calm_run(activations=activations), "transform_hurts")
    assert "hurts 1 layer: their codes lose up to 0.8 dB" in found.text
    assert "from 4.0 to 9.0" in found.reason
    assert found.layers == (NAMES[2],)


def test_another_transform_that_suits_better():
    activations = planted(
        frames.activations(),
        lambda f: f["layer"].isin(NAMES[4:6]) & (f["transform"] == "width-k5-signs"),
        sqnr_4bit_db=22.0,
    )
    found = one(frames.calm_run(activations=activations), "better_transform")
    assert "suits 2 layers better, by up to 2.0 dB; most often width-k5-signs" in found.text
    assert found.layers == NAMES[4:6]


def test_smooth_rows_along_the_width():
    activations = planted(
        frames.activations(),
        lambda f: (f["layer"] == NAMES[7]) & (f["transform"] == "width-k5"),
        sqnr_4bit_db=12.0,
        crest=20.0,
    )
    found = one(frames.calm_run(activations=activations), "width_gathers")
    assert "by up to 8.0 dB" in found.text and found.layers == (NAMES[7],)


def test_an_outlier_channel():
    arrays = frames.arrays()
    maxima = np.full(16, 4.0, np.float32)
    maxima[11] = 80.0
    arrays[f"maxima/{NAMES[1]}/0/none/channel"] = maxima
    found = one(frames.calm_run(arrays=arrays), "outlier_channel")
    assert f"by 20 times the median: channel 11 of {NAMES[1]}" in found.text
    assert found.layers == (NAMES[1],)


def test_clipped_values():
    activations = planted(
        frames.activations(),
        lambda f: (f["layer"] == NAMES[9]) & (f["transform"] == "recipe"),
        clipped_percent=3.0,
    )
    found = one(frames.calm_run(activations=activations), "clipped")
    assert "up to 3.0 %" in found.text and found.layers == (NAMES[9],)


def test_saturated_codes():
    codes = planted(frames.codes(), lambda f: f["layer"] == NAMES[9], saturated_percent=2.5)
    found = one(frames.calm_run(codes=codes), "saturated")
    assert "up to 2.5 %" in found.text and found.layers == (NAMES[9],)


@pytest.mark.parametrize(("lowest", "highest", "wasted"), [(-4, 3, True), (-5, 3, False), (0, 3, False)])
def test_codes_that_never_leave_half_of_their_range(lowest, highest, wasted):
    codes = planted(frames.codes(), lambda f: f["layer"] == NAMES[0], lowest=lowest, highest=highest)
    found = findings(frames.calm_run(codes=codes))
    assert [finding.layers for finding in found] == ([(NAMES[0],)] if wasted else [])


def test_a_timestep_that_stands_out():
    growth = planted(frames.growth(), lambda f: f["step"] == 2, noise_sqnr_db=7.0)
    found = one(frames.calm_run(growth=growth), "bad_timestep")
    assert found.text == "Timestep 700 (step 2) is 8.0 dB worse than the median."


def test_scale_entries_that_are_never_read():
    layers = planted(frames.layers(), lambda f: f["layer"] == NAMES[0], scale_entries=20)
    found = one(frames.calm_run(layers=layers), "unused_scales")
    assert "20 entries, of which a run of 4 steps reads 4 at most" in found.text
    assert found.layers == (NAMES[0],)


def test_zero_codes():
    codes = planted(frames.codes(), lambda f: f["layer"] == NAMES[6], zero_percent=70.0)
    found = one(frames.calm_run(codes=codes), "zeros_dominate")
    assert "up to 70 %" in found.text and found.layers == (NAMES[6],)


@pytest.mark.parametrize(
    ("rule", "values", "words"),
    [
        ("weights_from_dram", {"bound_by": "dram"}, "weights from DRAM bind 42 % of the time, in 5 layers"),
        (
            "activations_from_dram",
            {"bound_by": "dram", "weight_bytes": 300.0},
            "activations in DRAM bind 42 % of the time",
        ),
        ("vector_bound", {"bound_by": "vector"}, "the vector unit binds 42 % of the time"),
        ("transform_costs", {"energy_hadamard_pj": 50.0}, "takes 21 % of the energy and binds 0 %"),
        ("wide_multiplier", {"multiplier_passes": 2}, "5 layers (42 % of the products) need more than one"),
        ("narrow_accumulator", {"accumulator_fits": False}, "too narrow for 5 layers, which need up to 24"),
    ],
)
def test_what_a_machine_waits_for(rule, values, words):
    some = NAMES[:5]
    found = one(frames.calm_run(cost=planted(frames.cost(), lambda f: f["name"].isin(some), **values)), rule)
    assert words in found.text and frames.MACHINE in found.text
    assert set(some) <= set(found.layers)


def test_two_passes_that_no_transform_causes_are_not_its_fault():
    cost = planted(frames.cost(), lambda f: f["name"] == NAMES[0], multiplier_passes=2, storage_bits_a=7)
    assert findings(frames.calm_run(cost=cost)) == ()


def test_energy_that_is_assumed():
    found = one(frames.calm_run(totals=frames.totals().assign(assumed_energy_percent=75.0)), "assumed_energy")
    assert found.text == f"On {frames.MACHINE} 75 % of the energy rests on assumed figures."


def test_every_rule_says_what_it_is():
    assert all(rule.__doc__ for rule in RULES)
