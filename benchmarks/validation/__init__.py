"""The cost model beside published and measured figures: one file per comparison, each with a ``compare``.

``python -m benchmarks.validation.NAME`` prints one; every table has ``published``, ``modelled`` and
``error_percent``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"


def with_errors(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows with ``published`` and ``modelled`` as a table with their error in percent."""
    table = pd.DataFrame(rows)
    return table.assign(error_percent=100 * (table["modelled"] / table["published"] - 1))


def show(table: pd.DataFrame) -> None:
    """Print a table, and the mean and the worst of its errors."""
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    errors = table["error_percent"]
    worst = errors.loc[errors.abs().idxmax()]
    print(f"{len(table)} figures, mean error {errors.abs().mean():.2f} %, worst {worst:+.2f} %")
