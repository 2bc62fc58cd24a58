"""The page's data as one JSON block, from which its script draws charts, the layer table and drill-downs.

Numbers are rounded to four digits for drawing; lines of drill-downs, of which there are thousands, are packed
as 16-bit places between their extremes. The CSVs beside the page hold every digit.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hqsim.report.curves import COLOURS
from hqsim.report.data import ComparisonReport, Page, RunReport
from hqsim.report.details import LayerDetail
from hqsim.report.grid import Grid
from hqsim.report.lines import LineChart
from hqsim.report.roofline import RooflinePanel
from hqsim.report.scale import PARTS, VIRIDIS
from hqsim.report.tables import Table, machine_views, table_of
from hqsim.report.timeline import Timeline
from hqsim.report.tradeoff import Tradeoff, front_of, labelled

PLACES = 65534
"""Places between the extremes of a packed line; place 0 is a gap."""


def block_of(page: Page) -> str:
    """Return the data of ``page`` as JSON that may stand inside a script element."""
    comparison = page.comparison or ComparisonReport()
    data = {
        "gradient": VIRIDIS,
        "parts": PARTS,
        "colours": COLOURS,
        "tradeoffs": [_tradeoff(item) for item in comparison.tradeoffs],
        "comparison": _compared(comparison),
        "runs": [_run(run) for run in page.runs],
    }
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _run(run: RunReport) -> dict[str, Any]:
    shares = run.shares
    return {
        "name": run.name,
        "layers": _layers(run.layers),
        "grids": [_grid(grid) for grid in run.grids],
        "shares": []
        if shares.empty
        else [
            [str(layer), _number(share)]
            for layer, share in zip(shares["layer"], shares["share_percent"], strict=True)
        ],
        "curves": [_chart(chart) for chart in run.curves],
        "rooflines": [_roofline(panel) for panel in run.rooflines],
        "timelines": [_timeline(timeline) for timeline in run.timelines],
        "details": {layer: _detail(detail) for layer, detail in run.details.items()},
    }


def _layers(frame: pd.DataFrame) -> dict[str, Any]:
    table = table_of(frame)
    return _rows(
        table,
        {
            view.title: [table.columns.index(column) for column in view.table.columns]
            for view in machine_views(table)
        },
    )


def _compared(comparison: ComparisonReport) -> dict[str, Any]:
    names = list(comparison.view.columns)
    views = {title: [names.index(name) for name in wanted] for title, wanted in comparison.views.items()}
    return _rows(table_of(comparison.view), views)


def _rows(table: Table, views: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Columns with the text of every cell and, for numbers, the key to sort by (None: text, "": missing).

    ``views`` are places of columns by title.
    """
    return {
        "columns": [
            {
                "label": column.name.label,
                "unit": column.unit,
                "raw": column.name.raw,
                "machine": column.name.machine,
                "numeric": column.numeric,
                "first": column.worst_first,
                "text": [row[position].text for row in table.rows],
                "key": [row[position].key for row in table.rows] if column.numeric else None,
                "share": [row[position].share_percent for row in table.rows]
                if any(row[position].share_percent is not None for row in table.rows)
                else None,
            }
            for position, column in enumerate(table.columns)
        ],
        "views": [{"title": title, "columns": columns} for title, columns in views.items()],
        "count": len(table.rows),
    }


def _grid(grid: Grid) -> dict[str, Any]:
    scale = grid.scale
    return {
        "name": grid.name,
        "title": grid.title,
        "unit": grid.unit,
        "axis": grid.axis,
        "rows": grid.rows,
        "layers": grid.layers if grid.layers != grid.rows else None,
        "labels": grid.column_labels,
        "steps": grid.steps,
        "low": scale.low,
        "high": scale.high,
        "ticks": scale.ticks(),
        "dark_is_low": grid.higher_is_better,
        "values": [_number(value) for value in grid.values.ravel()],
    }


def _chart(chart: LineChart) -> dict[str, Any]:
    return {
        **_frame_of(chart),
        "lines": [[name, _numbers(values)] for name, values in chart.lines.items()],
    }


def _packed(chart: LineChart) -> dict[str, Any]:
    """Return ``chart`` with lines as base64 of uint16, little-endian: place of the (logarithmic) value."""
    places = {name: np.log10(values) if chart.log_y else values for name, values in chart.lines.items()}
    finite = np.concatenate([values[np.isfinite(values)] for values in places.values()] or [np.zeros(1)])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return {
        **_frame_of(chart),
        "low": _number(low),
        "high": _number(high),
        "packed": [[name, _pack(values, low, high)] for name, values in places.items()],
    }


def _frame_of(chart: LineChart) -> dict[str, Any]:
    return {
        "title": chart.title,
        "x_label": chart.x_label,
        "y_label": chart.y_label,
        "x": _numbers(chart.x),
        "log_y": chart.log_y,
    }


def _pack(values: NDArray[np.float64], low: float, high: float) -> str:
    known = np.isfinite(values)
    fraction = np.where(known, values - low, 0.0) / ((high - low) or 1.0)
    places = np.where(known, 1 + np.round(PLACES * fraction), 0).astype("<u2")
    return base64.b64encode(places.tobytes()).decode("ascii")


def _detail(detail: LayerDetail) -> dict[str, Any]:
    table = table_of(detail.outliers)
    return {
        "charts": [_packed(chart) for chart in (*detail.histogram_charts(), *detail.profile_charts())],
        "head": [f"{column.name.label} {column.unit}".strip() for column in table.columns],
        "rows": [[cell.text for cell in row] for row in table.rows],
    }


def _roofline(panel: RooflinePanel) -> dict[str, Any]:
    return {
        "machine": panel.machine,
        "bytes_per_s": panel.bytes_per_s,
        "ceilings": [[ceiling.label, ceiling.ops_per_s] for ceiling in panel.ceilings],
        "points": [
            [point.layer, point.kind, *_numbers((point.ops_per_byte, point.ops_per_s, point.time_share))]
            for point in panel.points
        ],
    }


def _timeline(timeline: Timeline) -> dict[str, Any]:
    return {
        "machine": timeline.machine,
        "engines": timeline.engines,
        "spans": [
            [span.layer, span.kind, span.bound_by, *_numbers((span.start_s, span.length_s, *span.busy_s))]
            for span in timeline.spans
        ],
    }


def _tradeoff(tradeoff: Tradeoff) -> dict[str, Any]:
    cost_label, points = tradeoff.scaled()
    front, named = front_of(points), labelled(points)
    return {
        "title": tradeoff.title,
        "x_label": cost_label,
        "y_label": tradeoff.quality_label,
        "hollow": tradeoff.hollow,
        "points": [
            {
                "label": point.label,
                "group": point.group,
                **{name: _number(getattr(point, name)) for name in ("cost", "quality", "low", "high")},
                "front": point in front,
                "named": point in named,
                "hollow": point.hollow,
            }
            for point in points
        ],
    }


def _numbers(values: Iterable[float] | Sequence[float]) -> list[float | str | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | str | None:
    """Four significant digits; None for NaN, and words for infinity, which JSON does not know."""
    value = float(value)
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    rounded = float(f"{value:.4g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
