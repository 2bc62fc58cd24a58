"""Energy by part as one stacked bar per machine."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from hqsim.report.quantities import ColumnName, Quantity
from hqsim.report.scale import PARTS, ink_on

PREFIX = "energy_pj."
LABEL_FROM_PERCENT = 8.0


@dataclass(frozen=True)
class Segment:
    """One part of a bar: place and width in percent, colours, text inside (may be empty), tooltip."""

    x_percent: str
    width_percent: str
    middle_percent: str
    colour: str
    ink: str
    text: str
    tooltip: str


@dataclass(frozen=True)
class EnergyBar:
    """One machine: total as text and the segments that fill the bar."""

    machine: str
    total: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class EnergyChart:
    """Bars and the (part, colour) legend."""

    bars: tuple[EnergyBar, ...]
    legend: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return bool(self.bars)


def energy_chart(totals: pd.DataFrame) -> EnergyChart:
    """Return the chart of the ``energy_pj.<part>`` columns, parts that are zero everywhere left out."""
    parts = [str(name) for name in totals.columns if str(name).startswith(PREFIX)]
    columns = [name for name in parts if totals[name].fillna(0).gt(0).any()]
    legend = tuple(
        (ColumnName.parse(name).label.removeprefix("energy "), PARTS[index % len(PARTS)])
        for index, name in enumerate(columns)
    )
    bars = []
    for _, row in totals.iterrows():
        energies_pj = [float(row[name]) if row[name] > 0 else 0.0 for name in columns]
        if sum(energies_pj) > 0:
            segments = _segments(energies_pj, legend)
            bars.append(EnergyBar(str(row["machine"]), _joules(sum(energies_pj)), segments))
    return EnergyChart(tuple(bars), legend)


def _segments(energies_pj: list[float], legend: tuple[tuple[str, str], ...]) -> tuple[Segment, ...]:
    total, start, segments = sum(energies_pj), 0.0, []
    for energy_pj, (part, colour) in zip(energies_pj, legend, strict=True):
        share = 100 * energy_pj / total
        segments.append(
            Segment(
                x_percent=f"{start:.3f}",
                width_percent=f"{share:.3f}",
                middle_percent=f"{start + share / 2:.3f}",
                colour=colour,
                ink=ink_on(colour),
                text=f"{share:.0f}\u2009%" if share >= LABEL_FROM_PERCENT else "",
                tooltip=f"{part}: {_joules(energy_pj)}, {share:.1f} %",
            )
        )
        start += share
    return tuple(segments)


def _joules(energy_pj: float) -> str:
    quantity = Quantity.of([energy_pj], "pj")
    return f"{quantity.text(energy_pj)}\u2009{quantity.unit}"
