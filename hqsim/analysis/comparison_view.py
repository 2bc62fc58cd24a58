"""A comparison's table as a page shows it: a row per run, what differs, and a view of costs per machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

CHOICES = ("transform", "order", "symmetric", "trained", "weight_bits", "activation_bits")
INTERVAL = ("sqnr_low_db", "sqnr_high_db")
QUALITY = ("sqnr_db", "sqnr_interval", "psnr_db", "frechet_distance", "classifier_accuracy")
WIDTHS = (
    "sqnr_db",
    "storage_bits",
    "multiplier_bits",
    "multiplier_bits_mean",
    "accumulator_bits",
    "weight_crest",
    "weight_crest_median",
    "model_bytes",
)


@dataclass(frozen=True, eq=False)
class ComparisonView:
    """One row per run, the columns of each tab, and in words the choices that all runs share.

    ``transform`` holds axis and signs too, ``sqnr_interval`` both of its ends; costs are called
    ``latency_s[MACHINE]``. Choices that all runs share, and what was not measured, have no column.
    """

    rows: pd.DataFrame
    tabs: Mapping[str, Sequence[str]]
    common: str


def comparison_view(table: pd.DataFrame) -> ComparisonView:
    """Return what a page shows of a table with one row per run and machine (``Comparison.table``).

    Choices, widths and quality may be missing.
    """
    rows = table.drop_duplicates("run").set_index("run", drop=False)
    if "transform" in rows:
        rows = rows.assign(transform=transform_texts(rows))
    if set(INTERVAL) <= set(rows):
        ends = zip(*(rows[name] for name in INTERVAL), strict=True)
        rows = rows.assign(sqnr_interval=[_interval(low, high) for low, high in ends])
    known = rows.columns[rows.notna().any()]
    choices = [name for name in CHOICES if name in known]
    shared = [name for name in choices if len(rows) > 1 and rows[name].nunique() == 1]
    own = ["run", *(name for name in choices if name not in shared)]
    tabs = {
        title: [name for name in (*own, *names) if name in known and name not in less]
        for title, names, less in (("quality", QUALITY, ()), ("widths", WIDTHS, ("trained",)))
        if any(name in known for name in names if name != "sqnr_db")
    }
    columns = list(dict.fromkeys(name for names in tabs.values() for name in names)) or own
    view = rows[columns]
    costs = list(table.columns[table.columns.get_loc("machine") + 1 :])
    for machine, costed in table[table["machine"] != ""].groupby("machine", sort=False):
        found = costed.set_index("run")[costs].dropna(axis="columns", how="all").add_suffix(f"[{machine}]")
        view = view.join(found)
        tabs[str(machine)] = ["run", *(["sqnr_db"] if "sqnr_db" in columns else []), *found.columns]
    common = ", ".join(f"{name.replace('_', ' ')} {_word(rows[name].iloc[0])}" for name in shared)
    return ComparisonView(view.reset_index(drop=True), tabs, common)


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
