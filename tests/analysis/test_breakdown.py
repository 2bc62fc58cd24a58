"""Shares and sums of a hand-made layer table."""

from types import SimpleNamespace

import pandas as pd
import pytest

from hqsim.analysis.breakdown import OTHER, bound_percent, by_kind, kind_of, machine_totals, slowest

LAYERS = pd.DataFrame(
    {
        "name": ["a", "b", "c", "d"],
        "op": ["conv2d", "group_norm", "conv2d", "concat"],
        "macs": [60, 0, 40, 0],
        "cycles": [500, 100, 300, 100],
        "latency_s": [5.0, 1.0, 3.0, 1.0],
        "energy_pj": [10.0, 20.0, 10.0, 0.0],
        "dram_bytes": [1, 2, 3, 4],
        "bound_by": ["matrix", "dram", "dram", "dram"],
    }
)


def test_kinds_sum_their_layers_and_share_the_whole():
    table = by_kind(LAYERS).set_index("kind")
    assert list(table.index) == ["convolution", "norm", OTHER]
    convolution = table.loc["convolution"]
    assert (convolution["layers"], convolution["macs"], convolution["dram_bytes"]) == (2, 100, 4)
    assert (convolution["latency_s"], convolution["energy_pj"]) == (8.0, 20.0)
    assert table["latency_percent"].tolist() == [80.0, 10.0, 10.0]
    assert table["energy_percent"].tolist() == [50.0, 50.0, 0.0]
    assert table["macs_percent"].tolist() == [100.0, 0.0, 0.0]


def test_a_step_without_products_has_no_share_of_them():
    assert by_kind(LAYERS[LAYERS["macs"] == 0])["macs_percent"].tolist() == [0.0, 0.0]


def test_every_operator_has_a_kind():
    from hqsim.ops import OPERATORS

    assert all(kind_of(name) for name in OPERATORS)
    assert (kind_of("matmul"), kind_of("add")) == ("attention product", OTHER)


def test_what_binds_is_weighed_by_time():
    assert bound_percent(LAYERS) == {"matrix": 50.0, "dram": 50.0}
    assert list(bound_percent(LAYERS.iloc[1:])) == ["dram"]


def test_slowest_layers_come_first_and_ties_keep_their_order():
    table = slowest(LAYERS, 3)
    assert table["name"].tolist() == ["a", "c", "b"]
    assert table["latency_percent"].tolist() == [50.0, 30.0, 10.0]


def test_machine_totals_are_means_of_the_run():
    run = {
        "steps": 4,
        "latency_s": 2.0,
        "energy_pj": {"multiply": 3.0, "dram": 5.0, "total": 8.0},
        "dram_bytes": 400.0,
        "utilization": 0.25,
    }
    total = {"run": run, "bound_by": "dram", "assumed_energy_share": 0.5}
    row = machine_totals({"m": SimpleNamespace(total=total, layers=LAYERS)}, images=2).iloc[0]
    assert row.to_dict() == {
        "machine": "m",
        "latency_per_step_s": 0.5,
        "latency_per_image_s": 1.0,
        "energy_per_image_pj": 4.0,
        "dram_per_step_bytes": 100.0,
        "dram_per_image_bytes": 200.0,
        "utilization_percent": 25.0,
        "bound_by": "dram",
        "bound_percent": pytest.approx(50.0),
        "assumed_energy_percent": 50.0,
        "energy_pj.multiply": 3.0,
        "energy_pj.dram": 5.0,
    }
