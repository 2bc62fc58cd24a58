"""Heatmaps, images, shares and energy bars as files for papers and slides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hqsim.errors import InputError
from hqsim.report.energy import EnergyChart
from hqsim.report.grid import Grid
from hqsim.report.images import COLUMNS
from hqsim.report.quantities import short_name
from hqsim.report.scale import VIRIDIS

if TYPE_CHECKING:
    from hqsim.report.data import ImageStrip

DPI = 150
MAX_ROW_LABELS = 80
MAX_HEIGHT_INCHES = 40.0
FILE_TYPES = {".png": {"Software": None}, ".pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
"""What a figure may be saved as, with the metadata that would differ from run to run left out."""
Target = Path | tuple[Path, ...]
"""A figure's file, or the files of several types that show the same figure."""
EXACT_COLOUR, MISSING_COLOUR = "#fdf8c8", "#c8c8c8"


def save_heatmap(grids: Sequence[Grid], target: Target) -> None:
    """Draw ``grids``, which have the same rows, beside each other into ``target`` (``.png`` or ``.pdf``)."""
    rows = len(grids[0].rows)
    height = min(1.6 + 0.16 * rows, MAX_HEIGHT_INCHES)
    figure = Figure(figsize=(2.6 + 3.0 * len(grids), height), layout="constrained")
    panels = figure.subplots(1, len(grids), squeeze=False, sharey=True)[0]
    for panel, grid in zip(panels, grids, strict=True):
        _draw_grid(figure, panel, grid)
    every = -(-rows // MAX_ROW_LABELS)
    shown = range(0, rows, every)
    names = [short_name(grids[0].rows[row]) for row in shown]
    panels[0].set_yticks(list(shown), names, fontsize=6, parse_math=False)
    save_figure(figure, target)


def save_shares(shares: pd.DataFrame, target: Target, *, count: int = 20) -> None:
    """Draw the ``count`` largest of ``layer, share_percent`` as bars into ``target``."""
    largest = shares.nlargest(count, "share_percent")
    figure = Figure(figsize=(7.0, 0.8 + 0.24 * len(largest)), layout="constrained")
    panel = figure.subplots()
    panel.barh(range(len(largest)), largest["share_percent"], color=VIRIDIS[6], height=0.7)
    names = [short_name(str(layer)) for layer in largest["layer"]]
    panel.set_yticks(range(len(largest)), names, fontsize=7, parse_math=False)
    panel.set_ylim(len(largest) - 0.5, -0.5)
    panel.set_xlabel("share of the final error [%]", fontsize=8)
    panel.tick_params(labelsize=7, left=False)
    panel.spines[["top", "right", "left"]].set_visible(False)
    save_figure(figure, target)


def save_images(strips: tuple[ImageStrip, ...], labels: tuple[str, ...], target: Target) -> None:
    """Write the first ten images of every executor to ``target``, one row per executor."""
    count = min(COLUMNS, len(strips[0].codes))
    figure = Figure(figsize=(1.0 + 0.9 * count, 0.35 + 0.95 * len(strips)), layout="constrained")
    panels = figure.subplots(len(strips), count, squeeze=False)
    for row, strip in zip(panels, strips, strict=True):
        for index, panel in enumerate(row):
            panel.imshow(strip.codes[index], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
        row[0].set_ylabel(strip.executor, fontsize=8, parse_math=False)
    for panel, label in zip(panels[0], labels, strict=False):
        panel.set_title(label, fontsize=8, parse_math=False)
    save_figure(figure, target)


def save_energy(chart: EnergyChart, target: Target) -> None:
    """Write the chart's bars, each a machine's whole energy by part, to ``target`` (``.png`` or ``.pdf``)."""
    figure = Figure(figsize=(8.4, 0.9 + 0.42 * len(chart.bars)), layout="constrained")
    panel = figure.subplots()
    for row, bar in enumerate(chart.bars):
        for segment in bar.segments:
            left, width = float(segment.x_percent), float(segment.width_percent)
            panel.barh(row, width, left=left, color=segment.colour, height=0.68)
            panel.text(
                left + width / 2, row, segment.text, color=segment.ink, ha="center", va="center", fontsize=8
            )
        panel.text(101, row, bar.total, va="center", fontsize=9)
    panel.set_yticks(range(len(chart.bars)), [bar.machine for bar in chart.bars], parse_math=False)
    panel.tick_params(left=False, labelsize=9)
    panel.set(xlim=(0, 100), xticks=[], ylim=(len(chart.bars) - 0.5, -0.5))
    panel.spines[:].set_visible(False)
    handles = [Patch(color=colour, label=part) for part, colour in chart.legend]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)
    save_figure(figure, target)


def save_figure(figure: Figure, target: Target) -> None:
    """Write ``figure`` as the suffix of each path says, the same bytes every time; a PDF embeds its fonts.

    Raises
    ------
    InputError
        For a suffix that is not in ``FILE_TYPES``.
    """
    paths = (target,) if isinstance(target, Path) else target
    kinds = [check_figure_path(path) for path in paths]
    FigureCanvasAgg(figure)
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        for path, kind in zip(paths, kinds, strict=True):
            figure.savefig(path, format=kind.removeprefix("."), dpi=DPI, metadata=FILE_TYPES[kind])
            # The places are found; finding them again for the next file would take most of its time.
            figure.set_layout_engine("none")


def check_figure_path(path: Path) -> str:
    """Return the suffix of a figure's file.

    Raises
    ------
    InputError
        For a suffix that is not in ``FILE_TYPES``.
    """
    kind = path.suffix.lower()
    if kind not in FILE_TYPES:
        raise InputError(
            f"{path}: a figure cannot be a '{kind}' file; end its name in {' or '.join(FILE_TYPES)}."
        )
    return kind


def _draw_grid(figure: Figure, panel: Axes, grid: Grid) -> None:
    scale = grid.scale
    anchors = VIRIDIS if grid.higher_is_better else VIRIDIS[::-1]
    colours = LinearSegmentedColormap.from_list("grid", anchors).with_extremes(bad=MISSING_COLOUR)
    finite = np.ma.masked_invalid(grid.values)
    mesh = panel.imshow(
        finite, aspect="auto", cmap=colours, vmin=scale.low, vmax=scale.high, interpolation="nearest"
    )
    exact = np.ma.masked_where(~np.isposinf(grid.values), np.zeros_like(grid.values))
    pale = LinearSegmentedColormap.from_list("exact", [EXACT_COLOUR, EXACT_COLOUR])
    panel.imshow(exact, aspect="auto", cmap=pale, interpolation="nearest")
    labels = grid.column_labels
    every = -(-len(labels) // 10)
    panel.set_xticks(list(range(0, len(labels), every)), list(labels[::every]), fontsize=6)
    panel.set_xlabel(grid.axis, fontsize=8)
    panel.set_title(grid.title, fontsize=9, parse_math=False)
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    extend = ends[scale.below, scale.above]
    bar = figure.colorbar(mesh, ax=panel, extend=extend, location="bottom", aspect=40, pad=0.02)
    pale_is = "; pale: exact" if exact.count() else ""
    bar.set_label(f"{grid.unit or 'ratio'} (grey: not measured{pale_is})", fontsize=7)
    bar.ax.tick_params(labelsize=6)
