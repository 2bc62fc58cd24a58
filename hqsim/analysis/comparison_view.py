"""A comparison's table as a page shows it: a row per run, what differs, and a view of costs per machine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

CHOICES = ("transform", "order", "symmetric", "trained", "weight_bits", "activation_bits")
MERGED = ("method", "axis", "signs")
"""Columns that the names of runs and the texts of transforms hold."""
INTERVAL = ("sqnr_low_db", "sqnr_high_db")


def comparison_view(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the table of a page, and what all of its runs have in common.

    Parameters
    ----------
    table
        One row per run and machine (``Comparison.table``); choices may be missing.

    Returns
    -------
    view
        One row per run. ``transform`` holds axis and signs too, ``sqnr_interval`` both of its ends; choices
        that all runs share are left out, costs are called ``latency_s[MACHINE]``.
    common
        The shared choices in words, empty where there are none.
    """
    import pandas as pd

    costs = list(table.columns[table.columns.get_loc("machine") + 1 :]) if "machine" in table else []
    view = table.drop_duplicates("run").drop(columns=["machine", *costs], errors="ignore")
    view = view.assign(transform=transform_texts(view)) if "transform" in view else view
    view = view.drop(columns=list(MERGED), errors="ignore").dropna(axis="columns", how="all")
    if set(INTERVAL) <= set(view.columns):
        ends = [_interval(low, high) for low, high in zip(*(view[name] for name in INTERVAL), strict=True)]
        view.insert(view.columns.get_loc(INTERVAL[0]), "sqnr_interval", ends)
        view = view.drop(columns=list(INTERVAL))
    shared = {name: view[name].iloc[0] for name in CHOICES if name in view and view[name].nunique() == 1}
    if len(view) > 1:
        view = view.drop(columns=list(shared))
    for machine, rows in table.groupby("machine", sort=False) if costs else ():
        if machine:
            own = rows.set_index("run")[costs].add_suffix(f"[{machine}]")
            view = view.join(own.dropna(axis="columns", how="all"), on="run")
    common = ", ".join(f"{name.replace('_', ' ')} {_word(value)}" for name, value in shared.items())
    return pd.DataFrame(view).reset_index(drop=True), common if len(view) > 1 else ""


def transform_texts(table: pd.DataFrame) -> list[str]:
    """Return the transform of every row in words: kind, axis of the convolutions, signs."""
    return [_transform(row) for row in table.to_dict("records")]


def _transform(row: dict[str, Any]) -> str:
    axis = row.get("axis", "none")
    words = [row["transform"], axis if axis != "none" else "", "signs" if row.get("signs") else ""]
    return " ".join(filter(None, words))


def _interval(low: float, high: float) -> str | None:
    return None if math.isnan(low) or math.isnan(high) else f"{low:.1f} to {high:.1f}"


def _word(value: Any) -> str:
    return {"True": "yes", "False": "no"}.get(str(value), str(value))
