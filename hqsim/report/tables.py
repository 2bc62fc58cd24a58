"""Any DataFrame as rows of text cells that sort by number: the layer table never asks what a column means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hqsim.report.quantities import MISSING, ColumnName, Quantity


@dataclass(frozen=True)
class Column:
    """Heading of one column; ``worst_first`` is the order of the first click on it."""

    name: ColumnName
    unit: str
    numeric: bool
    worst_first: str


@dataclass(frozen=True)
class Cell:
    """Text to read, number to sort by ("" is missing, None sorts by text), share of the largest value."""

    text: str
    key: str | None = None
    share_percent: float | None = None


@dataclass(frozen=True)
class Table:
    """Columns and, per row, one cell for each of them."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __bool__(self) -> bool:
        return bool(self.rows)

    def select(self, positions: list[int]) -> Table:
        """Return the table with only the columns at ``positions``."""
        return Table(
            tuple(self.columns[position] for position in positions),
            tuple(tuple(row[position] for position in positions) for row in self.rows),
        )


@dataclass(frozen=True)
class TableView:
    """One tab of the layer table: the numerics, or what one machine makes of the same rows."""

    title: str
    table: Table


def table_of(frame: pd.DataFrame) -> Table:
    """Return ``frame`` (index ignored) as a table; columns may hold anything that has a ``str``."""
    columns, cells = [], []
    for position in range(frame.shape[1]):
        column, column_cells = _column(str(frame.columns[position]), frame.iloc[:, position].tolist())
        columns.append(column)
        cells.append(column_cells)
    return Table(tuple(columns), tuple(zip(*cells, strict=True)))


def machine_views(table: Table, *, keep: tuple[str, ...] = ("layer", "op")) -> tuple[TableView, ...]:
    """Split the columns of ``table`` into one view without machine and one per machine.

    The columns named in ``keep`` open every machine's view, so that its rows can be read alone.
    """
    machines: dict[str | None, list[int]] = {None: []}
    for position, column in enumerate(table.columns):
        machines.setdefault(column.name.machine, []).append(position)
    shared = [position for position in machines[None] if table.columns[position].name.raw in keep]
    own = machines.pop(None)
    views = [TableView("numerics", table.select(own))] if own else []
    views += [TableView(str(machine), table.select(shared + owned)) for machine, owned in machines.items()]
    return tuple(views)


def _column(raw: str, values: list[Any]) -> tuple[Column, tuple[Cell, ...]]:
    name = ColumnName.parse(raw)
    present = [value for value in values if not _is_missing(value)]
    numeric = any(_is_number(value) for value in values) and all(_is_number(value) for value in present)
    if not numeric:
        return Column(name, "", False, "ascending"), tuple(_text_cell(value) for value in values)
    quantity = Quantity.of(present, name.unit)
    largest = max((float(value) for value in present if math.isfinite(value)), default=0.0)
    bars = name.machine is not None and largest > 0 and all(value >= 0 for value in present)
    cells = tuple(_number_cell(value, quantity, largest if bars else None) for value in values)
    return Column(name, quantity.unit, True, "ascending" if name.unit == "db" else "descending"), cells


def _number_cell(value: Any, quantity: Quantity, largest: float | None) -> Cell:
    if _is_missing(value):
        return Cell(MISSING, "")
    if math.isinf(value):
        return Cell(quantity.text(float(value)), "Infinity" if value > 0 else "-Infinity")
    share = None if largest is None else round(100 * float(value) / largest, 1)
    exact = int(value) if isinstance(value, (int, np.integer)) else float(value)
    return Cell(quantity.text(exact), repr(exact), share)


def _text_cell(value: Any) -> Cell:
    if _is_missing(value):
        return Cell(MISSING, "")
    if isinstance(value, (bool, np.bool_)):
        return Cell("yes" if value else "no")
    if isinstance(value, float) and math.isinf(value):
        return Cell("\u221e" if value > 0 else "\u2212\u221e")
    return Cell(str(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _is_missing(value: Any) -> bool:
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))
