"""Figures by layer and step: pivoted from a tidy table, with the colours that a heatmap gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hqsim.errors import InputError
from hqsim.report.scale import Scale


@dataclass(frozen=True, eq=False, kw_only=True)
class Grid:
    """One figure of every row (a layer, or an operand of one) at every step.

    ``values`` is float64 ``[rows, steps]``: NaN where nothing was measured, infinite dB where nothing
    differs. ``layers`` holds the layer behind each row. ``table`` names the CSV with the same figures, and
    grids of one table make one file.
    """

    name: str
    title: str
    unit: str
    table: str
    rows: tuple[str, ...]
    layers: tuple[str, ...]
    steps: tuple[int, ...]
    timesteps: tuple[str, ...]
    values: NDArray[np.float64]
    higher_is_better: bool = True

    @property
    def scale(self) -> Scale:
        """Round limits of the colour axis."""
        return Scale.of(self.values.ravel().tolist())

    @property
    def axis(self) -> str:
        """What the columns are called."""
        return "timestep" if any(self.timesteps) else "step"

    @property
    def column_labels(self) -> tuple[str, ...]:
        """Timesteps where they are known, else step numbers."""
        return self.timesteps if any(self.timesteps) else tuple(str(step) for step in self.steps)

    def darkness(self, value: float) -> float:
        """Place of ``value`` on the colour map from 0, the worst, to 1."""
        fraction = self.scale.fraction(value)
        return fraction if self.higher_is_better else 1.0 - fraction


def grid_of(
    frame: pd.DataFrame,
    column: str,
    *,
    name: str,
    title: str,
    unit: str,
    table: str,
    order: Sequence[str] = (),
    higher_is_better: bool = True,
) -> Grid | None:
    """Pivot ``column`` of ``frame`` (``layer, step`` and, where known, ``row, timestep``) to a grid.

    Rows stand in the order of ``order``, the layers as they are executed; a layer that is not in it comes
    last. None when no figure of the column was measured.

    Raises
    ------
    InputError
        For a missing column, or a row and step that occur twice.
    """
    missing = [needed for needed in ("layer", "step") if needed not in frame.columns]
    if missing and not frame.empty:
        raise InputError(f"{table}: missing column(s) {', '.join(missing)}, got {', '.join(frame.columns)}.")
    if frame.empty or column not in frame.columns or not frame[column].notna().any():
        return None
    frame = frame if "row" in frame.columns else frame.assign(row=frame["layer"])
    twice = frame.duplicated(["row", "step"])
    if twice.any():
        found = frame[twice].iloc[0]
        raise InputError(
            f"{table}: '{found['row']}' at step {found['step']} occurs more than once; "
            "give one row per layer and step."
        )
    position = {layer: index for index, layer in reversed(list(enumerate(order)))}
    layer_of = dict(zip(frame["row"].astype(str), frame["layer"].astype(str), strict=True))
    rows = sorted(layer_of, key=lambda row: position.get(layer_of[row], len(position)))
    steps = sorted({int(step) for step in frame["step"]})
    row_of = {row: index for index, row in enumerate(rows)}
    column_of = {step: index for index, step in enumerate(steps)}
    values = np.full((len(rows), len(steps)), np.nan)
    at = ([row_of[str(row)] for row in frame["row"]], [column_of[int(step)] for step in frame["step"]])
    values[at] = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
    return Grid(
        name=name,
        title=title,
        unit=unit,
        table=table,
        rows=tuple(rows),
        layers=tuple(layer_of[row] for row in rows),
        steps=tuple(steps),
        timesteps=_timesteps(frame, steps),
        values=values,
        higher_is_better=higher_is_better,
    )


def _timesteps(frame: pd.DataFrame, steps: list[int]) -> tuple[str, ...]:
    if "timestep" not in frame.columns:
        return ("",) * len(steps)
    known = frame.dropna(subset=["timestep"]).drop_duplicates("step")
    by_step = {int(step): f"{value:g}" for step, value in zip(known["step"], known["timestep"], strict=True)}
    return tuple(by_step.get(step, "") for step in steps)
