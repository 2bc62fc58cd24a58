"""Training curves beside each other: one panel per setting, one line per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hqsim.report.figures import save_figure

COLOURS = ("#b5534c", "#2c728e", "#3f8f4f", "#8a6bb0", "#c08a2b", "#606060", "#c77da6", "#8f9a2f")

Line = tuple[NDArray[np.float64], NDArray[np.float64]]


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return the mean of the last ``window`` values at each position, of fewer at the beginning."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def save_curves(
    panels: Sequence[tuple[str, Mapping[str, Line]]], path: Path, *, x_label: str, y_label: str
) -> None:
    """Draw lines (x, y) by name, y on a logarithmic axis, into ``path`` (``.png`` or ``.pdf``).

    A name has the same colour in every panel.
    """
    names = list(dict.fromkeys(name for _, lines in panels for name in lines))
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    figure = Figure(figsize=(4.6 * len(panels), 3.1), layout="constrained")
    for panel, (title, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, (x, y) in lines.items():
            panel.semilogy(x, y, color=colours[name], linewidth=1.1, label=name)
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_xlabel(x_label, fontsize=9)
        panel.set_ylabel(y_label, fontsize=9)
        panel.tick_params(which="both", labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
