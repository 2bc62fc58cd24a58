"""BitFusion's public simulator on its 16 x 32 array: compute cycles of 48 layers.

The layers stand in ``tests/data/bitfusion_cycles.csv``: total cycles less memory wait cycles are what the
array computes. The simulator joins the taps of some first layers with their channels (``flattened``); the
unit then gets that product without its convolution.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from benchmarks.validation import DATA, show, with_errors
from hqsim.cost.geometry import BitComposable
from hqsim.cost.machine import MatrixUnit, MultiplyEnergy, NativeWidth, Quantity
from hqsim.cost.units import run_unit
from hqsim.cost.widths import multiplier_mode
from hqsim.graph.record import ConvWork, MatrixWork

BITFUSION = MatrixUnit(
    name="bitfusion",
    geometry=BitComposable(rows=16, cols=32),
    native=(NativeWidth(a_bits=8, w_bits=8),),
    other_widths="passes",
    accumulator_bits=32,
    multiply=(MultiplyEnergy(energy_pj=Quantity(value=0.0), a_bits=8, w_bits=8),),
)


def layer_work(row: dict[str, Any]) -> MatrixWork:
    """Return the product of one row of the file."""
    conv = ConvWork(
        kernel_h=row["kernel"],
        kernel_w=row["kernel"],
        stride_h=1,
        stride_w=1,
        in_h=row["out_h"],
        in_w=row["out_w"],
        out_h=row["out_h"],
        out_w=row["out_w"],
        in_channels=row["in_channels"],
        out_channels=row["out_channels"],
        groups=1,
        batch=row["batch"],
    )
    return MatrixWork(
        m=row["batch"] * row["out_h"] * row["out_w"],
        n=row["out_channels"],
        k=row["kernel"] ** 2 * row["in_channels"],
        count=1,
        a_storage_bits=row["a_bits"],
        w_storage_bits=row["w_bits"],
        a_multiplier_bits=row["a_bits"],
        w_multiplier_bits=row["w_bits"],
        accumulator_bits=32,
        conv=None if row["flattened"] else conv,
    )


def compare() -> pd.DataFrame:
    """Return one row per layer."""
    rows = []
    for row in pd.read_csv(DATA / "bitfusion_cycles.csv").to_dict("records"):
        name = f"{row['network']} {row['layer']}"
        mode = multiplier_mode(BITFUSION, a_bits=row["a_bits"], w_bits=row["w_bits"], layer=name)
        cycles = run_unit(BITFUSION, layer_work(row), mode).cycles
        published = row["total_cycles"] - row["wait_cycles"]
        rows.append({"layer": name, "rate": mode.rate, "published": published, "modelled": cycles})
    return with_errors(rows)


if __name__ == "__main__":
    show(compare())
