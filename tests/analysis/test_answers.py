"""Answers of a comparison: from tables made by hand, whose right answer anybody can tell."""

import numpy as np
import pandas as pd
import pytest

from hqsim.analysis.answers import answers
from tests.report import run_frames as frames


def row(run, sqnr_db, energy_mj, **others):
    return {
        "run": run, "transform": "none", "machine": "m", "sqnr_db": sqnr_db, "sqnr_low_db": sqnr_db - 0.5,
        "sqnr_high_db": sqnr_db + 0.5, "energy_pj": 1e9 * energy_mj, "latency_s": 1e-3 * energy_mj,
        "weight_bits": 4, "activation_bits": 4, "multiplier_bits_mean": 4.0, **others,
    }  # fmt: skip


def asked(rows, word, runs=None):
    """Return the one answer whose question holds ``word``."""
    table = pd.DataFrame(rows)
    runs = runs or [frames.calm_run(name) for name in dict.fromkeys(table["run"])]
    (found,) = [answer for answer in answers(runs, table) if word in answer.question]
    return found


def single(run, sqnr_db, energy_mj, **others):
    return row(run, sqnr_db, energy_mj, transform="single", multiplier_bits_mean=6.8, **others)


def test_the_best_at_equal_energy_leads_its_peers():
    found = asked([row("a", 8.0, 1.0), row("b", 10.0, 1.02), row("dear", 9.0, 2.0)], "equal energy")
    assert found.answer == "b on m (10.0 dB at 1.02 mJ per image)."
    assert found.grounds == (
        "m, energy within 5 %: a 8.0 dB. The lead of b over a, 2.0 dB, is clear.",
        "m: no run costs less energy by more than 5 %; 1 costs more and gives less.",
    )


def test_a_lead_within_the_intervals_is_not_clear():
    found = asked([row("a", 9.6, 1.0), row("b", 10.0, 1.0)], "equal energy")
    assert found.answer == "b on m (10.0 dB at 1.00 mJ per image, not clearly ahead of a)."
    assert "0.4 dB, is within what other images could change" in found.grounds[0]


def test_a_lead_is_told_of_the_one_that_leads():
    rows = [row("a", 8.0, 1.0), single("s", 9.0, 1.0), row("d", 12.0, 1.0, transform="double")]
    found = asked(rows, "single Hadamard")
    assert any("The lead of d over s, 3.0 dB, is clear." in ground for ground in found.grounds)


def test_of_many_peers_the_best_five_are_named():
    found = asked([row(f"r{index}", float(index), 1.0) for index in range(9)], "equal energy")
    assert (
        "5 %: r7 7.0 dB, r6 6.0 dB, r5 5.0 dB, r4 4.0 dB, r3 3.0 dB and 3 more. The lead" in found.grounds[0]
    )


def test_what_less_energy_would_give_is_said():
    found = asked([row("a", 8.0, 1.0), row("b", 10.0, 2.0)], "equal energy")
    assert found.grounds[0].startswith("m, with less energy: a is best (8.0 dB), at 50 % less.")


def test_paired_draws_decide_before_intervals_do():
    """Both runs move with the same images: their difference hardly does."""
    draws = np.random.default_rng(0).normal(0, 3, 500)
    runs = [
        frames.calm_run(name, arrays={"figures/integer/sqnr_db": np.concatenate([[value], value + draws])})
        for name, value in (("a", 9.6), ("b", 10.0))
    ]
    found = asked([row("a", 9.6, 1.0), row("b", 10.0, 1.0)], "equal energy", runs)
    assert "0.4 dB, is clear" in found.grounds[0]


def test_the_five_layers_are_those_of_the_best_run():
    shares = frames.sensitivity().assign(share_percent=np.arange(12.0))
    runs = [frames.calm_run("a"), frames.calm_run("b", sensitivity=shares)]
    found = asked([row("a", 8.0, 1.0), row("b", 10.0, 1.0)], "layers hurt", runs)
    assert found.answer == "In b: " + ", ".join(f"block.{at}.conv ({at} %)" for at in (11, 10, 9, 8, 7)) + "."


def test_layers_that_are_bad_everywhere_are_named_first():
    worst = [frames.sensitivity(), frames.sensitivity()]
    for frame in worst:
        frame.loc[3, "share_percent"] = 40.0
    worst[0].loc[[8, 9, 10, 11], "share_percent"] = 20.0
    runs = [frames.calm_run(name, sensitivity=frame) for name, frame in zip("ab", worst, strict=True)]
    found = asked([row("a", 8.0, 1.0), row("b", 10.0, 1.0)], "layers hurt", runs)
    assert found.grounds[0] == "Among the worst 5 of every run: block.3.conv."


@pytest.mark.parametrize(
    ("sqnr_db", "verdict"), [(12.0, "On m yes: +2.0"), (8.0, "On m no: -2.0"), (10.3, "On m not decided")]
)
def test_whether_a_single_hadamard_pays(sqnr_db, verdict):
    found = asked([row("plain", 10.0, 1.0), single("hqdm", sqnr_db, 1.1)], "single Hadamard")
    assert found.answer.startswith(verdict)
    assert found.answer.endswith("for +10 % energy and +10 % latency.")
    assert "6.8 bits on average instead of 4.0" in found.grounds[0]


def test_a_single_hadamard_is_compared_at_its_own_widths():
    rows = [row("w8", 30.0, 1.0, weight_bits=8), row("w4", 10.0, 1.0), single("hqdm", 12.0, 1.0)]
    assert "hqdm beside w4, the best without" in asked(rows, "single Hadamard").grounds[0]


def test_the_double_hadamard_stands_beside_the_single():
    rows = [row("plain", 10.0, 1.0), single("s", 12.0, 1.1), row("d", 11.0, 1.32, transform="double")]
    found = asked(rows, "single Hadamard").grounds[1]
    assert found.startswith("m: the double Hadamard (d) gives 11.0 dB at +20 % energy beside the single.")


def test_nothing_measured_nothing_said():
    run = frames.calm_run(sensitivity=frames.sensitivity().iloc[:0])
    assert answers([run], pd.DataFrame()) == ()
    assert answers([run], pd.DataFrame([row(run.name, np.nan, 1.0)])) == ()
