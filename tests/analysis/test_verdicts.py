"""Verdicts on the paper's claims from planted runs."""

import numpy as np
import pandas as pd
import pytest

from hqsim.analysis.run_folder import Run
from hqsim.analysis.verdicts import judge

DRAWS = np.random.default_rng(0).normal(0.0, 1.0, 100)


def _run(name, score, transform="none", **parts):
    figures = {
        f"figures/integer/{metric}": np.concatenate([[score], score + DRAWS])
        for metric in ("score", "sqnr_db")
    }
    return Run(
        name=name,
        manifest={"settings": {"recipe": name}, "inputs": {}},
        layers=pd.DataFrame({"layer": ["a", "b"], "op": ["conv2d", "linear"], "transform": [transform] * 2}),
        quality=pd.DataFrame({"executor": ["float", "integer"]}),
        images={"labels": np.arange(40)},
        arrays=figures,
        **parts,
    )


def _row(run, method, **choices):
    row = {
        "run": run,
        "method": method,
        "transform": "none",
        "axis": "none",
        "signs": False,
        "order": 0,
        "symmetric": True,
        "trained": False,
        "weight_bits": 4,
        "activation_bits": 4,
    }
    return row | choices


@pytest.fixture
def judged():
    crests = pd.DataFrame(
        {
            "layer": ["a", "a", "b", "b"],
            "transform": ["none", "recipe"] * 2,
            "crest": [9.0, 5.0, 7.0, 4.0],
        }
    )
    weights = pd.DataFrame(
        {
            "layer": ["a", "a", "b", "b"],
            "transform": ["none", "channel-k5"] * 2,
            "crest": [4.0, 3.0, 5.0, 4.5],
        }
    )
    runs = [
        _run("hqdm-w4a4", 8.0, "single width k5", activations=crests, weights=weights),
        _run("efficientdm-w4a4", 7.0),
        _run("width-k3-w4a4", 8.0),
    ]
    single = {"transform": "single", "axis": "width", "order": 5}
    table = pd.DataFrame(
        [
            _row("hqdm-w4a4", "hqdm", **single),
            _row("efficientdm-w4a4", "efficientdm", symmetric=False),
            _row("width-k3-w4a4", "width-k3", **(single | {"order": 3})),
        ]
    )
    return judge(runs, table, {}).set_index("claim")


def test_paired_differences_decide(judged):
    row = judged.loc["HQ-DM against EfficientDM, 4/4: IS better"]
    assert (row["verdict"], row["measured"]) == ("holds", "+1.00 (+1.00 to +1.00)")
    assert row["source"] == "248.3 against 220.2 (ImageNet, Table 1)"
    assert "40 images of the same seeds; calibrated only where the paper trains" in row["detail"]


def test_too_little_evidence_is_said(judged):
    row = judged.loc["k = 5 better than k = 3 (HQ-DM, 4/4)"]
    assert row["verdict"] == "undecided"
    assert row["detail"].endswith("too few images to decide")


def test_what_was_not_run_is_not_measured(judged):
    row = judged.loc["HQ-DM against EfficientDM, 8/8: IS equal"]
    assert (row["verdict"], row["detail"]) == (
        "not measured",
        "needs hqdm-w8a8 and efficientdm-w8a8 among the recipes",
    )
    fid = judged.loc["HQ-DM against EfficientDM, 4/4: FID equal"]
    assert (fid["verdict"], fid["detail"]) == ("not measured", "the runs hold no 'frechet' of enough images")
    loss = judged.loc["HQ-DM's training loss falls faster than EfficientDM's, 4/4"]
    assert loss["verdict"] == "not measured"


def test_outliers_by_layer(judged):
    activations = judged.loc["A single Hadamard transform reduces the outliers of activations"]
    assert activations["verdict"] == "holds"
    assert activations["measured"] == "crest rises in 0 of 2 layers; median 8.00 (none), 4.50 after"
    weights = judged.loc[
        "A double transform amplifies the outliers of weights, which a single one leaves alone"
    ]
    assert weights["verdict"] == "does not hold"
    convolutions = judged.loc["A single transform works with integer convolutions"]
    assert (convolutions["verdict"], convolutions["measured"]) == (
        "holds",
        "1 convolutions with a transform ran",
    )


def test_nothing_measured_gives_no_verdict():
    bare = Run(
        name="ptq-w4a4",
        manifest={"settings": {}, "inputs": {}},
        layers=pd.DataFrame({"layer": ["a"], "op": ["conv2d"], "transform": ["none"]}),
    )
    found = judge([bare], pd.DataFrame([_row("ptq-w4a4", "ptq")]), {})
    assert set(found["verdict"]) == {"not measured"}
