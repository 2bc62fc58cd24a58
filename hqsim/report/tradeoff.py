"""Quality over cost: points with error bars, and the front that no point beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hqsim.report.curves import COLOURS
from hqsim.report.figures import Target, save_figure
from hqsim.report.quantities import Quantity

LABELLED = 12
"""So many points bear their names; of more, those on the front."""
HEIGHT_POINTS, LINE, NAME_WIDTH = 240.0, 8.0, 0.3
"""Of a figure: its height and that of a name in points, a name's width beside the figure's."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One design: ``quality`` (more is better) with its interval at ``cost`` (less is better).

    A ``group`` has one colour; ``hollow`` tells two kinds of points apart in every group.
    """

    label: str
    group: str
    cost: float
    quality: float
    low: float
    high: float
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Tradeoff:
    """Points of one machine and what their axes mean; ``unit`` is the unit of the cost ("pj", "s").

    ``hollow`` says what the hollow points have in common.
    """

    name: str
    title: str
    cost_label: str
    unit: str
    quality_label: str
    points: tuple[Point, ...]
    hollow: str = ""

    def scaled(self) -> tuple[str, tuple[Point, ...]]:
        """Return the label of the cost axis with a readable unit, and the points with costs in it."""
        quantity = Quantity.of([point.cost for point in self.points], self.unit)
        points = (replace(point, cost=point.cost / quantity.divisor) for point in self.points)
        return f"{self.cost_label} [{quantity.unit}]", tuple(points)


def front_of(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats or equals in both (Pareto), cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.quality)):
        if not best or point.quality > best[-1].quality:
            best.append(point)
    return best


def labelled(points: Sequence[Point]) -> list[Point]:
    """Return the points that bear their names: all where they are few, else those on the front."""
    return list(points) if len(points) <= LABELLED else front_of(points)


def save_tradeoff(
    points: Sequence[Point], target: Target, *, cost_label: str, quality_label: str, hollow: str = ""
) -> None:
    """Draw the points by group, and the front as a line, into ``target`` (``.png`` or ``.pdf``)."""
    figure = Figure(figsize=(6.6, 4.2), layout="constrained")
    panel = figure.subplots()
    front = front_of(points)
    panel.step([p.cost for p in front], [p.quality for p in front], where="post", color="0.8", zorder=0)
    for index, group in enumerate(dict.fromkeys(point.group for point in points)):
        colour = COLOURS[index % len(COLOURS)]
        panel.plot([], [], "o", markersize=4, color=colour, label=group)
        for kind in (False, True):
            members = [point for point in points if point.group == group and point.hollow is kind]
            bars = [[p.quality - p.low for p in members], [p.high - p.quality for p in members]]
            panel.errorbar(
                [p.cost for p in members], [p.quality for p in members], yerr=bars, fmt="o", markersize=4,
                capsize=2, linewidth=0.8, color=colour, markerfacecolor="white" if kind else colour,
            )  # fmt: skip
    if hollow:
        panel.plot([], [], "o", markersize=4, color="0.4", markerfacecolor="white", label=hollow)
    _annotate(panel, labelled(points))
    panel.set_xlabel(cost_label, fontsize=9)
    panel.set_ylabel(quality_label, fontsize=9)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    if len(points) > LABELLED:
        figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    else:
        panel.legend(frameon=False, fontsize=8)
    save_figure(figure, target)


def _annotate(panel: Axes, points: Sequence[Point]) -> None:
    """Write the names beside their points, lower where another name is already."""
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    taken: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda one: -one.quality):
        x = (point.cost - left) / (right - left)
        at = y = HEIGHT_POINTS * (point.quality - bottom) / (top - bottom)
        while any(abs(x - other_x) < NAME_WIDTH and abs(y - other_y) < LINE for other_x, other_y in taken):
            y -= 1.0
        taken.append((x, y))
        panel.annotate(
            point.label, (point.cost, point.quality), xytext=(4, 3 + y - at), textcoords="offset points",
            fontsize=7, parse_math=False,
        )  # fmt: skip
