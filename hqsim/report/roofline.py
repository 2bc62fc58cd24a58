"""Rooflines: what each layer's multiply-accumulates reach, beside what the machine could do.

Williams, Waterman and Patterson, "Roofline", Communications of the ACM 52 (2009): at ``x`` operations per
byte of DRAM traffic the rate is at most ``min(peak, x * bandwidth)``. A multiply-accumulate counts as two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hqsim.report.figures import Target, save_figure
from hqsim.report.scale import PARTS

COLUMNS = 3
LARGEST_POINT, SMALLEST_POINT = 240.0, 5.0
INK = "#202428"
FURTHEST = 1000.0
"""Layers with more operations per byte than so many times the last ridge are drawn at the right edge."""


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """A peak rate and the operand widths that it holds for."""

    label: str
    ops_per_s: float


@dataclass(frozen=True, kw_only=True)
class RooflinePoint:
    """One layer; ``ops_per_byte`` is infinite for a layer that does not touch DRAM."""

    layer: str
    kind: str
    ops_per_byte: float
    ops_per_s: float
    time_share: float


@dataclass(frozen=True, kw_only=True)
class RooflinePanel:
    """One machine: its ceilings, DRAM bandwidth, and a point for every layer with a product."""

    machine: str
    ceilings: tuple[Ceiling, ...]
    bytes_per_s: float
    points: tuple[RooflinePoint, ...]


def save_rooflines(panels: Sequence[RooflinePanel], target: Target) -> None:
    """Draw the panels side by side into ``target`` (``.png`` or ``.pdf``)."""
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(0.6 + 4.3 * columns, 0.7 + 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    kinds = list(dict.fromkeys(point.kind for panel in panels for point in panel.points))
    colours = {kind: PARTS[index % len(PARTS)] for index, kind in enumerate(kinds)}
    for panel, axis in zip(panels, axes, strict=False):
        _draw(axis, panel, colours)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[::columns]:
        axis.set_ylabel("operations per second", fontsize=9)
    for axis in axes[max(len(panels) - columns, 0) : len(panels)]:
        axis.set_xlabel("operations per byte of DRAM traffic", fontsize=9)
    figure.legend(
        handles=_legend(colours),
        loc="outside lower center",
        ncols=len(colours) + 2,
        frameon=False,
        fontsize=8,
    )
    save_figure(figure, target)


def _legend(colours: dict[str, str]) -> list[Line2D]:
    dots = [
        Line2D([], [], linestyle="", marker="o", color=colour, alpha=0.7, label=kind)
        for kind, colour in colours.items()
    ]
    aside = Line2D([], [], linestyle="", marker=">", color="#5f6b76", label="(almost) no DRAM traffic")
    size = Line2D([], [], linestyle="", marker="", label="area: share of the step's time")
    return [*dots, aside, size]


def _draw(axis: Axes, panel: RooflinePanel, colours: dict[str, str]) -> None:
    ceilings = sorted((ceiling.ops_per_s, ceiling.label) for ceiling in panel.ceilings)
    peak = ceilings[-1][0]
    ridges = [rate / panel.bytes_per_s for rate, _ in ceilings]
    shown = [point.ops_per_byte for point in panel.points if point.ops_per_byte < FURTHEST * ridges[-1]]
    left, right = min([*shown, ridges[0]]) / 4, 4 * max([*shown, ridges[-1]])
    for (rate, label), ridge in zip(ceilings, ridges, strict=True):
        axis.plot(
            [ridge, right], [rate] * 2, color=INK, linewidth=1.2, linestyle="-" if rate == peak else "--"
        )
        axis.annotate(label, (left, rate), xytext=(5, 3), textcoords="offset points", fontsize=7.5, color=INK)
        axis.plot([left, ridge], [rate] * 2, color=INK, linewidth=0.4, linestyle=":")
    axis.plot([left, ridges[-1]], [left * panel.bytes_per_s, peak], color=INK, linewidth=1.2)
    largest = max((point.time_share for point in panel.points), default=1.0)
    ordered = sorted(panel.points, key=lambda point: -point.time_share)
    for marker, points in (
        ("o", [point for point in ordered if point.ops_per_byte < FURTHEST * ridges[-1]]),
        (">", [point for point in ordered if point.ops_per_byte >= FURTHEST * ridges[-1]]),
    ):
        axis.scatter(
            [min(point.ops_per_byte, right / 1.2) for point in points],
            [point.ops_per_s for point in points],
            s=[SMALLEST_POINT + LARGEST_POINT * point.time_share / largest for point in points],
            c=[colours[point.kind] for point in points],
            marker=marker,
            alpha=0.6,
            linewidths=0.4,
            edgecolors="white",
        )
    slowest = min((point.ops_per_s for point in panel.points), default=peak)
    axis.set(xscale="log", yscale="log", xlim=(left, right), ylim=(min(slowest, peak / 10) / 3, 3 * peak))
    axis.set_title(panel.machine, fontsize=10, parse_math=False)
    axis.tick_params(labelsize=8)
    axis.grid(which="major", color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
