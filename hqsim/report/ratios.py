"""Ratios to a reference as coloured tables: one row per machine, one column per variant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure

from hqsim.report.figures import save_figure
from hqsim.report.scale import ink_on

COLOURS = LinearSegmentedColormap.from_list("ratio", ("#2c728e", "#ffffff", "#b5534c")).with_extremes(
    bad="#dcdcdc"
)
FULL_COLOUR = 4.0
"""A ratio of so much, or its inverse, has the deepest colour."""
COLUMNS = 2
INCHES_PER_COLUMN, INCHES_PER_ROW = 0.62, 0.27


def save_ratios(panels: Sequence[tuple[str, pd.DataFrame]], path: Path) -> None:
    """Draw titled frames of ratios (NaN: none) into ``path`` (``.png`` or ``.pdf``), two beside each other.

    All frames have the same rows and columns; their index and columns are the labels.
    """
    first = panels[0][1]
    rows, columns = -(-len(panels) // COLUMNS), min(COLUMNS, len(panels))
    width = 1.6 + columns * INCHES_PER_COLUMN * first.shape[1]
    height = 1.3 + rows * (0.4 + INCHES_PER_ROW * first.shape[0])
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for (title, frame), axis in zip(panels, axes, strict=False):
        _draw(axis, title, frame)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    save_figure(figure, path)


def _draw(axis: Axes, title: str, frame: pd.DataFrame) -> None:
    ratios = frame.to_numpy(float)
    depth = np.log(ratios) / np.log(FULL_COLOUR)
    axis.imshow(depth, cmap=COLOURS, vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    for row, column in np.ndindex(*ratios.shape):
        ratio = ratios[row, column]
        colour = to_hex(COLOURS(0.5 + 0.5 * min(max(depth[row, column], -1.0), 1.0)))
        axis.text(
            column, row, ratio_text(ratio), ha="center", va="center", fontsize=7.5,
            color="#606060" if np.isnan(ratio) else ink_on(colour),
        )  # fmt: skip
    axis.set_xticks(range(frame.shape[1]), [str(name) for name in frame.columns], fontsize=8, rotation=40)
    for label in axis.get_xticklabels():
        label.set(horizontalalignment="right", rotation_mode="anchor")
    axis.set_yticks(range(frame.shape[0]), [str(name) for name in frame.index], fontsize=8, parse_math=False)
    axis.set_title(title, fontsize=10, loc="left")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def ratio_text(ratio: float) -> str:
    """``1.64``, ``13.4``, and a dash for NaN."""
    if np.isnan(ratio):
        return "\u2013"
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:.1f}"
