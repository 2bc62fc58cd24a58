"""The rows of a comparison: what a recipe chose, what that takes in hardware, and what it gave."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.analysis.run_folder import Run
from hqsim.report.tradeoff import Point, front_of

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.quantize import QuantizedModel

COSTS = MappingProxyType(
    {
        "latency_s": "latency_per_image_s",
        "energy_pj": "energy_per_image_pj",
        "dram_bytes": "dram_per_image_bytes",
    }
)
"""Columns of the table, and those of a run's totals."""
MEASURED = ("sqnr_db", "sqnr_low_db", "sqnr_high_db", "psnr_db", "frechet_distance", "classifier_accuracy")


def run_rows(run: Run, qmodel: QuantizedModel, *, model_bytes: int) -> list[dict[str, Any]]:
    """Return the table's rows of one run, without the fronts: one per machine, a single one without any."""
    row = {"run": run.name, **_choices(qmodel), **_widths(run, qmodel)}
    row |= {**_weight_crests(run), "model_bytes": model_bytes, **_quality(run)}
    if run.totals.empty:
        return [{**row, "machine": "", **dict.fromkeys(COSTS, np.nan)}]
    return [
        {**row, "machine": total["machine"], **{name: total[column] for name, column in COSTS.items()}}
        for total in run.totals.to_dict("records")
    ]


def _choices(qmodel: QuantizedModel) -> dict[str, Any]:
    """What the recipe chose."""
    recipe = qmodel.recipe
    hadamard = recipe.hadamard
    transforms = hadamard.kind != "none"
    method, _, _ = recipe.name.rpartition("-w")
    return {
        "method": method or recipe.name,
        "transform": hadamard.kind,
        "axis": hadamard.axis if transforms else "none",
        "signs": transforms and hadamard.signs,
        "order": hadamard.order if transforms else 0,
        "symmetric": recipe.activations.symmetric,
        "trained": qmodel.training is not None,
        "weight_bits": recipe.weights.bits,
        "activation_bits": recipe.activations.bits,
    }


def _widths(run: Run, qmodel: QuantizedModel) -> dict[str, Any]:
    operands = [node for node in qmodel.graph if node.op == "quantize"]
    values = np.array([node.type.elements for node in operands])
    bits = np.array([qmodel.formats[node.name].bits for node in operands])
    layers, macs = run.layers, run.layers["macs"]
    return {
        "storage_bits": float((values * bits).sum() / values.sum()),
        "multiplier_bits": int(layers["multiplier_bits"].max()),
        "multiplier_bits_mean": float((layers["multiplier_bits"] * macs).sum() / macs.sum()),
        "accumulator_bits": int(layers["accumulator_bits"].max()),
    }


def _weight_crests(run: Run) -> dict[str, float]:
    crests = run.weights.loc[run.weights["transform"] == "recipe", "crest"]
    return {"weight_crest": float(crests.max()), "weight_crest_median": float(crests.median())}


def _quality(run: Run) -> dict[str, float]:
    """The integer model's figures; not a number where they were not measured."""
    if run.quality.empty:
        return dict.fromkeys(MEASURED, np.nan)
    (row,) = run.quality[run.quality["executor"] == "integer"].to_dict("records")
    return {name: row.get(name, np.nan) for name in MEASURED}


def on_front(table: pd.DataFrame, cost: str) -> list[bool]:
    """Return for every row whether no other of its machine beats or equals it in ``sqnr_db`` and in ``cost``.

    Rows without a figure are on no front.
    """
    found = [False] * len(table)
    for _, rows in table.dropna(subset=["sqnr_db", cost]).groupby("machine"):
        points = {
            index: Point(label="", group="", cost=row[cost], quality=row["sqnr_db"], low=0.0, high=0.0)
            for index, row in rows.iterrows()
        }
        front = {id(point) for point in front_of(list(points.values()))}
        for index, point in points.items():
            found[table.index.get_loc(index)] = id(point) in front
    return found
