"""The layer x step heatmap: cells with place, colour and words, ready to be drawn as SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hqsim.report.data import MODES
from hqsim.report.quantities import EXACT, MISSING, Quantity, short_name
from hqsim.report.scale import Scale

BAND_ROWS = 40
MAX_STEP_LABELS = 20


@dataclass(frozen=True)
class StepGrid:
    """One mode's figures as arrays ``[layers, steps]``; NaN where a layer was not measured at a step."""

    mode: str
    layers: tuple[str, ...]
    steps: tuple[int, ...]
    timesteps: tuple[str, ...]
    sqnr_db: NDArray[np.float64]
    mismatch_percent: NDArray[np.float64]
    max_lsb: NDArray[np.float64]


@dataclass(frozen=True)
class HeatCell:
    """One cell: left edge in percent of the width, kind ("value", "exact", "missing"), colour, tooltip."""

    x_percent: str
    kind: str
    colour: str
    tooltip: str


@dataclass(frozen=True)
class HeatRow:
    """One layer: full and shortened name, its cells, its lowest SQNR as text."""

    name: str
    label: str
    cells: tuple[HeatCell, ...]
    worst: str


@dataclass(frozen=True)
class HeatBand:
    """Rows drawn together; a long block of the model continues in a band that opens no new block."""

    rows: tuple[HeatRow, ...]
    opens_block: bool


@dataclass(frozen=True)
class Heatmap:
    """One mode's drawing: rows in bands, step labels (place in percent, text), colour scale."""

    mode: str
    bands: tuple[HeatBand, ...]
    step_labels: tuple[tuple[str, str], ...]
    cell_width_percent: str
    label_characters: int
    scale: Scale
    has_exact: bool
    has_missing: bool
    axis: str

    @property
    def row_count(self) -> int:
        """Number of layers."""
        return sum(len(band.rows) for band in self.bands)


def step_grids(frame: pd.DataFrame, layers: pd.DataFrame) -> tuple[StepGrid, ...]:
    """Pivot the tidy ``frame`` to one grid per mode, rows in the order of ``layers`` (execution order)."""
    if frame.empty:
        return ()
    executed = layers["layer"].astype(str).tolist() if "layer" in layers.columns else []
    position = {name: index for index, name in reversed(list(enumerate(executed)))}
    seen = frame["layer"].astype(str).drop_duplicates().tolist()
    names = sorted(seen, key=lambda name: position.get(name, len(position)))
    steps = sorted({int(step) for step in frame["step"]})
    timesteps = _timesteps(frame, steps)
    row_of = {name: index for index, name in enumerate(names)}
    column_of = {step: index for index, step in enumerate(steps)}
    grids = []
    for mode in MODES:
        rows = frame[frame["mode"] == mode]
        if not rows.empty:
            grid = np.full((3, len(names), len(steps)), np.nan)
            at = (
                [row_of[str(name)] for name in rows["layer"]],
                [column_of[int(step)] for step in rows["step"]],
            )
            for index, column in enumerate(("sqnr_db", "mismatch_percent", "max_lsb")):
                if column in rows.columns:
                    grid[index][at] = rows[column].to_numpy(dtype=np.float64, na_value=np.nan)
            grids.append(StepGrid(mode, tuple(names), tuple(steps), timesteps, *grid))
    return tuple(grids)


def heatmap_of(grid: StepGrid) -> Heatmap:
    """Return ``grid`` as cells in bands, coloured on a scale of its own."""
    scale = Scale.of(grid.sqnr_db.ravel().tolist())
    width = 100 / len(grid.steps)
    rows = tuple(_row(grid, index, scale, width) for index in range(len(grid.layers)))
    has_timesteps = any(grid.timesteps)
    labels = grid.timesteps if has_timesteps else tuple(str(step) for step in grid.steps)
    stride = math.ceil(len(labels) / MAX_STEP_LABELS)
    return Heatmap(
        mode=grid.mode,
        bands=_bands(rows),
        step_labels=tuple(
            (f"{(index + 0.5) * width:.3f}", labels[index]) for index in range(0, len(labels), stride)
        ),
        cell_width_percent=f"{width:.3f}",
        label_characters=max(len(row.label) for row in rows),
        scale=scale,
        has_exact=bool(np.isposinf(grid.sqnr_db).any()),
        has_missing=bool(np.isnan(grid.sqnr_db).any()),
        axis="timestep" if has_timesteps else "step",
    )


def _row(grid: StepGrid, index: int, scale: Scale, width: float) -> HeatRow:
    name = grid.layers[index]
    cells = tuple(_cell(grid, index, step, scale, width) for step in range(len(grid.steps)))
    measured = grid.sqnr_db[index][~np.isnan(grid.sqnr_db[index])]
    worst = _db(float(measured.min())) if measured.size else MISSING
    return HeatRow(name, short_name(name), cells, worst)


def _cell(grid: StepGrid, index: int, step: int, scale: Scale, width: float) -> HeatCell:
    value = float(grid.sqnr_db[index, step])
    where = f"step {grid.steps[step]}" + (f", t = {grid.timesteps[step]}" if grid.timesteps[step] else "")
    words = ["not measured" if math.isnan(value) else _db(value) + (" dB" if math.isfinite(value) else "")]
    mismatch, lsb = float(grid.mismatch_percent[index, step]), float(grid.max_lsb[index, step])
    words += [] if math.isnan(mismatch) else [f"{mismatch:.3g} % of codes differ"]
    words += [] if math.isnan(lsb) else [f"at most {lsb:.3g} LSB"]
    kind = "missing" if math.isnan(value) else "exact" if value == math.inf else "value"
    colour = scale.colour(value) if kind == "value" else ""
    return HeatCell(f"{step * width:.3f}", kind, colour, f"{grid.layers[index]}, {where}: {', '.join(words)}")


def _bands(rows: tuple[HeatRow, ...]) -> tuple[HeatBand, ...]:
    """Cut where the first part of the name changes, unless that leaves mostly slivers, and after 40 rows."""
    blocks = [tuple(block) for _, block in groupby(rows, key=lambda row: row.name.split(".")[0])]
    if len(blocks) > max(12, len(rows) // 4):
        blocks = [rows]
    return tuple(
        HeatBand(block[start : start + BAND_ROWS], opens_block=start == 0)
        for block in blocks
        for start in range(0, len(block), BAND_ROWS)
    )


def _db(value: float) -> str:
    return EXACT if value == math.inf else Quantity("dB", 1.0, 1).text(value)


def _timesteps(frame: pd.DataFrame, steps: list[int]) -> tuple[str, ...]:
    if "timestep" not in frame.columns:
        return ("",) * len(steps)
    known = frame.dropna(subset=["timestep"]).drop_duplicates("step")
    by_step = {int(step): f"{value:g}" for step, value in zip(known["step"], known["timestep"], strict=True)}
    return tuple(by_step.get(step, "") for step in steps)
