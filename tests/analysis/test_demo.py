"""The demo as a run of the report: a verdict per check, and every part that was measured."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from hqsim.analysis.demo import check_cards, demo_run
from hqsim.analysis.estimate import estimate
from hqsim.analysis.run_report import page_of
from hqsim.analysis.sample_quality import SampleQuality
from hqsim.report import VerdictCard
from hqsim.simulate.verify import Check, matrix_layers


def test_every_check_is_a_card_with_its_figure_large():
    checks = [
        Check("codes that differ", "0 of 1,200", "0", passed=True),
        Check("operand codes off", "0.2 %", "0.1 %", passed=False),
        Check("closeness", "-0.60 ± 0.05 dB", "-0.5 dB", passed=False, required=False),
    ]
    cards = check_cards(SimpleNamespace(checks=lambda: checks))
    assert [(card.value, card.status, card.detail) for card in cards] == [
        ("0", "pass", "of 1,200; limit 0"),
        ("0.2 %", "fail", "limit 0.1 %, not reached"),
        ("-0.60 dB", "info", "± 0.05 dB; limit -0.5 dB, not reached"),
    ]


def test_what_was_measured_becomes_a_run(tiny_qmodel):
    name = matrix_layers(tiny_qmodel)[0].name
    verification = SimpleNamespace(
        settings=SimpleNamespace(steps=2, labels=(0,), guidance=1.0, seed=3),
        exact=SimpleNamespace(accumulators={name: (-5, 100)}),
        step_layers=pd.DataFrame(
            {"layer": [name], "step": [0], "timestep": [900], "mode": ["free-running"], "sqnr_db": [20.0]}
        ),
    )
    codes = np.zeros((1, 1, 4, 4), np.uint8)
    table = pd.DataFrame(
        {
            "executor": ["float", "integer"], "images": 1, "sqnr_db": [np.inf, 9.0],
            "psnr_db": [np.inf, 15.0], "classifier_accuracy": 1.0, "frechet_distance": 2.0,
        }
    )  # fmt: skip
    machine = "edge-npu-16x16"
    run = demo_run(
        tiny_qmodel,
        verification,
        SampleQuality(table, {"float": codes, "integer": codes, "labels": np.zeros(1, np.int64)}, {}),
        {machine: estimate(tiny_qmodel, machine, steps=2)},
    )
    first = run.layers.iloc[0]
    assert (first["layer"], first["accumulator_lowest"], first["observed_bits"]) == (name, -5, 8)
    (report,) = page_of([run], cards={run.name: [VerdictCard("checked", "0", "pass")]}).runs
    assert report.cards[0].title == "checked"
    assert [panel.machine for panel in report.rooflines] == [machine]
    assert [strip.executor for strip in report.images] == ["float", "integer"]
