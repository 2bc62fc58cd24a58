"""Lines over a common axis: the growth of an error along the trajectory, the histogram of an operand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hqsim.report.curves import COLOURS


@dataclass(frozen=True, eq=False, kw_only=True)
class LineChart:
    """Lines by name, each ``float64 [n]`` like ``x``; NaN and infinity leave a gap.

    ``table`` names the CSV with the same figures, ``log_y`` asks for a logarithmic axis.
    """

    name: str
    title: str
    table: str
    x_label: str
    y_label: str
    x: NDArray[np.float64]
    lines: Mapping[str, NDArray[np.float64]]
    log_y: bool = False


def draw_lines(axis: Axes, chart: LineChart) -> None:
    """Draw ``chart`` into ``axis``, a legend where it has more than one line."""
    for index, (name, values) in enumerate(chart.lines.items()):
        axis.plot(
            chart.x, np.where(np.isfinite(values), values, np.nan), linewidth=1.2,
            color=COLOURS[index % len(COLOURS)], label=name, marker="o" if len(chart.x) < 30 else "",
            markersize=2.5,
        )  # fmt: skip
    if chart.log_y:
        axis.set_yscale("log")
    axis.set_title(chart.title, fontsize=9, loc="left", parse_math=False)
    axis.set_xlabel(chart.x_label, fontsize=8)
    axis.set_ylabel(chart.y_label, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    if len(chart.lines) > 1:
        axis.legend(frameon=False, fontsize=7)
