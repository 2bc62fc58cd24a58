"""The heatmap, the images and the energy bars once more as files for slides and documents."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hqsim.errors import InputError
from hqsim.report.data import ImageStrip
from hqsim.report.energy import EnergyChart
from hqsim.report.heatmap import StepGrid
from hqsim.report.images import COLUMNS
from hqsim.report.quantities import short_name
from hqsim.report.scale import VIRIDIS, Scale

DPI = 150
MAX_ROW_LABELS = 80
MAX_HEIGHT_INCHES = 40.0
FILE_TYPES = {".png": {"Software": None}, ".pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
"""What a figure may be saved as, with the metadata that would differ from run to run left out."""
EXACT_COLOUR, MISSING_COLOUR = "#fdf8c8", "#c8c8c8"


def save_heatmap(grids: tuple[StepGrid, ...], path: Path) -> None:
    """Write the SQNR of every layer and step to ``path`` (PNG), one panel per mode."""
    rows = len(grids[0].layers)
    height = min(1.6 + 0.16 * rows, MAX_HEIGHT_INCHES)
    figure = Figure(figsize=(3.2 + 4.2 * len(grids), height), layout="constrained")
    panels = figure.subplots(1, len(grids), squeeze=False, sharey=True)[0]
    for panel, grid in zip(panels, grids, strict=True):
        _draw_grid(figure, panel, grid)
    every = -(-rows // MAX_ROW_LABELS)
    shown = range(0, rows, every)
    names = [short_name(grids[0].layers[row]) for row in shown]
    panels[0].set_yticks(list(shown), names, fontsize=6, parse_math=False)
    save_figure(figure, path)


def save_images(strips: tuple[ImageStrip, ...], labels: tuple[str, ...], path: Path) -> None:
    """Write the first ten images of every executor to ``path`` (PNG), one row per executor."""
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
    save_figure(figure, path)


def save_energy(chart: EnergyChart, path: Path) -> None:
    """Write the chart's bars, each a machine's whole energy by part, to ``path`` (PNG or PDF)."""
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
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write ``figure`` as the suffix of ``path`` says, the same bytes every time; a PDF embeds its fonts.

    Raises
    ------
    InputError
        For a suffix that is not in ``FILE_TYPES``.
    """
    kind = check_figure_path(path)
    FigureCanvasAgg(figure)
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(path, format=kind.removeprefix("."), dpi=DPI, metadata=FILE_TYPES[kind])


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


def _draw_grid(figure: Figure, panel: Axes, grid: StepGrid) -> None:
    scale = Scale.of(grid.sqnr_db.ravel().tolist())
    colours = LinearSegmentedColormap.from_list("sqnr", VIRIDIS).with_extremes(bad=MISSING_COLOUR)
    values = np.where(np.isposinf(grid.sqnr_db), np.nan, grid.sqnr_db)
    mesh = panel.imshow(
        np.ma.masked_invalid(values), aspect="auto", cmap=colours, vmin=scale.low, vmax=scale.high,
        interpolation="nearest",
    )  # fmt: skip
    exact = np.ma.masked_where(~np.isposinf(grid.sqnr_db), np.zeros_like(values))
    white = LinearSegmentedColormap.from_list("exact", [EXACT_COLOUR, EXACT_COLOUR])
    panel.imshow(exact, aspect="auto", cmap=white, interpolation="nearest")
    has_timesteps = any(grid.timesteps)
    labels = grid.timesteps if has_timesteps else tuple(str(step) for step in grid.steps)
    every = -(-len(labels) // 10)
    panel.set_xticks(list(range(0, len(labels), every)), list(labels[::every]), fontsize=6)
    panel.set_xlabel("timestep" if has_timesteps else "step", fontsize=8)
    panel.set_title(grid.mode, fontsize=9)
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    extend = ends[scale.below, scale.above]
    bar = figure.colorbar(mesh, ax=panel, extend=extend, location="bottom", aspect=40, pad=0.02)
    bar.set_label("SQNR [dB] (pale: exact, grey: not measured)", fontsize=7)
    bar.ax.tick_params(labelsize=6)
