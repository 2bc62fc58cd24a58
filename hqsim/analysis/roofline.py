"""The roofline of an estimate: its layers as points below what the machine's multipliers and DRAM allow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hqsim.analysis.breakdown import kind_of
from hqsim.cost import Estimate, Hardware
from hqsim.cost.widths import multiplier_mode
from hqsim.errors import UnsupportedError
from hqsim.report.roofline import Ceiling, RooflinePanel, RooflinePoint

if TYPE_CHECKING:
    import pandas as pd

OPERATIONS_PER_MAC = 2
Widths = tuple[int, int]


def roofline_panel(estimate: Estimate) -> RooflinePanel:
    """Return the panel of the estimate's first step."""
    return roofline_of(estimate.layers, estimate.hardware)


def roofline_of(layers: pd.DataFrame, hardware: Hardware) -> RooflinePanel:
    """Return the panel of an estimate's ``layers``: a point for each with a product, up to two ceilings.

    The ceilings are the peak rates at the operand widths of most multiply-accumulates: as they are stored,
    and as the multipliers see them. Where both rates are the same they are one; a width that no unit
    multiplies has none.
    """
    products = layers[layers["macs"] > 0]
    step_s = layers["latency_s"].sum()
    points = tuple(
        RooflinePoint(
            layer=str(cost.name),
            kind=kind_of(cost.op),
            ops_per_byte=OPERATIONS_PER_MAC * cost.macs / cost.dram_bytes if cost.dram_bytes else math.inf,
            ops_per_s=OPERATIONS_PER_MAC * cost.macs / cost.latency_s,
            time_share=cost.latency_s / step_s,
        )
        for cost in products.itertuples(index=False)
    )
    return RooflinePanel(
        machine=hardware.name,
        ceilings=_ceilings(products, hardware),
        bytes_per_s=hardware.dram.bytes_per_cycle * hardware.clock_hz,
        points=points,
    )


def peak_ops_per_s(hardware: Hardware, a_bits: int, w_bits: int) -> float:
    """Return the operations per second of the fastest matrix unit at these widths, 0.0 without one."""
    rates = [0.0]
    for unit in hardware.matrix:
        try:
            mode = multiplier_mode(unit, a_bits=a_bits, w_bits=w_bits, layer="")
        except UnsupportedError:
            continue
        rates.append(unit.cells * mode.rate / mode.passes)
    return OPERATIONS_PER_MAC * max(rates) * hardware.clock_hz


def _ceilings(products: pd.DataFrame, hardware: Hardware) -> tuple[Ceiling, ...]:
    stored = _usual_widths(products, "storage")
    multiplied = _usual_widths(products, "multiplier")
    by_rate: dict[float, list[str]] = {}
    for a_bits, w_bits in dict.fromkeys((stored, multiplied)):
        rate = peak_ops_per_s(hardware, a_bits, w_bits)
        if rate:
            by_rate.setdefault(rate, []).append(f"{a_bits} x {w_bits}")
    return tuple(
        Ceiling(label=f"{' and '.join(names)} bit", ops_per_s=rate) for rate, names in by_rate.items()
    )


def _usual_widths(products: pd.DataFrame, where: str) -> Widths:
    """Return the (activation, weight) bits of most multiply-accumulates in ``storage`` or ``multiplier``."""
    columns = [f"{where}_bits_a", f"{where}_bits_w"]
    a_bits, w_bits = products.groupby(columns, sort=False)["macs"].sum().idxmax()
    return int(a_bits), int(w_bits)
