"""What ``hqsim estimate`` prints: machines beside each other, then the first of them taken apart."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hqsim.cli.console import Output, quantity

if TYPE_CHECKING:
    import pandas as pd

MACHINE_COLUMNS = (
    "machine",
    "latency\n/ step",
    "latency\n/ image",
    "energy\n/ image",
    "DRAM\n/ step",
    "used",
    "bound by",
    "no\nsource",
)
KIND_COLUMNS = ("operators", "layers", "latency", "energy", "MACs")
LAYER_COLUMNS = ("layer", "latency", "of\nstep", "stored\nbits", "multiplier\nbits", "bound by")
LEGEND = (
    "used: multiply-accumulates done, of those that the multipliers could have done",
    "bound by: what most of the time waits for, and the share of the time that does",
    "no source: the part of the energy that rests on assumed figures",
    "bits: activation x weight; a Hadamard transform widens what the multipliers see",
)
SLOWEST = 5
WIDEST_TEXT = 110


def machine_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One machine's line, from a row of ``machine_totals``."""
    return (
        str(row["machine"]),
        quantity(row["latency_per_step_s"], "s"),
        quantity(row["latency_per_image_s"], "s"),
        quantity(row["energy_per_image_pj"] * 1e-12, "J"),
        quantity(row["dram_per_step_bytes"], "B"),
        percent(row["utilization_percent"]),
        f"{row['bound_by']} {percent(row['bound_percent'])}",
        percent(row["assumed_energy_percent"]),
    )


def kind_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One kind of operator, from a row of ``by_kind``."""
    shares = (percent(row[f"{name}_percent"]) for name in ("latency", "energy", "macs"))
    return (str(row["kind"]), str(row["layers"]), *shares)


def layer_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One layer, from a row of ``slowest``."""
    return (
        str(row["name"]),
        quantity(row["latency_s"], "s"),
        percent(row["latency_percent"]),
        _bits(row["storage_bits_a"], row["storage_bits_w"]),
        _bits(row["multiplier_bits_a"], row["multiplier_bits_w"]),
        str(row["bound_by"]),
    )


def print_tables(
    output: Output, title: str, totals: pd.DataFrame, refusals: Mapping[str, str], layers: pd.DataFrame
) -> None:
    """Print the machines with those that refuse, then kinds and slowest layers of the first machine.

    ``layers`` are that machine's.
    """
    from hqsim.analysis.breakdown import by_kind, slowest

    output.table(title, MACHINE_COLUMNS, [machine_row(row) for row in totals.to_dict("records")])
    for name, reason in refusals.items():
        width = min(shutil.get_terminal_size().columns, WIDEST_TEXT)
        output.line(textwrap.fill(f"{name} refuses: {reason}", width, subsequent_indent="  ") + "\n")
    first = totals["machine"].iloc[0]
    kinds = by_kind(layers).to_dict("records")
    output.table(f"Where a step goes on {first}", KIND_COLUMNS, [kind_row(row) for row in kinds])
    worst = slowest(layers, SLOWEST).to_dict("records")
    output.table(f"Its {len(worst)} slowest layers", LAYER_COLUMNS, [layer_row(row) for row in worst])
    for line in LEGEND:
        output.line(line)


def percent(value: float) -> str:
    """``value`` percent in few digits: ``0 %``, ``< 0.1 %``, ``3.4 %``, ``62 %``."""
    if 0 < value < 0.05:
        return "< 0.1 %"
    return f"{value:.0f} %" if value == 0 or value >= 9.95 else f"{value:.1f} %"


def _bits(a_bits: Any, w_bits: Any) -> str:
    import pandas as pd

    return "" if pd.isna(a_bits) else f"{a_bits} x {w_bits}"
