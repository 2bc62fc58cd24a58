"""What is behind one layer: distributions of its operands and weight, before and after transforms."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hqsim.report.figures import Target, save_figure
from hqsim.report.lines import LineChart, draw_lines

Item = TypeVar("Item")
GROUPS = 64
"""A profile of more channels is shown as the maxima of so many groups of neighbours."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Histogram:
    """Counts int64 ``[bins]`` of value / RMS between ``edges`` float64 ``[bins + 1]``."""

    operand: str
    transform: str
    counts: NDArray[np.int64]
    edges: NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Profile:
    """Largest magnitudes float32 ``[n]`` along ``axis`` ("channel" or "width"), over all steps."""

    operand: str
    transform: str
    axis: str
    maxima: NDArray[np.float32]

    def grouped(self) -> tuple[int, NDArray[np.float32]]:
        """Return how many neighbours make a group, and the maximum of each (at most ``GROUPS``)."""
        size = -(-len(self.maxima) // GROUPS)
        starts = range(0, len(self.maxima), size)
        return size, np.array([self.maxima[start : start + size].max() for start in starts], np.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerDetail:
    """Histograms, profiles and the table of outlier statistics of one layer."""

    histograms: tuple[Histogram, ...] = ()
    profiles: tuple[Profile, ...] = ()
    outliers: pd.DataFrame = field(default_factory=pd.DataFrame)

    def histogram_charts(self) -> tuple[LineChart, ...]:
        """Return a chart per operand: density of its values over value / RMS, a line per transform."""
        charts = []
        for operand, group in _groups(self.histograms, lambda one: one.operand).items():
            edges, filled = group[0].edges, np.flatnonzero(sum(one.counts for one in group))
            shown = slice(filled[0], filled[-1] + 1) if filled.size else slice(0, 1)
            charts.append(
                LineChart(
                    name=f"histogram-{operand}",
                    title=f"{operand}: distribution",
                    table="histograms",
                    x_label="value / RMS",
                    y_label="density",
                    x=((edges[1:] + edges[:-1]) / 2)[shown],
                    lines={one.transform: _density(one)[shown] for one in group},
                    log_y=True,
                )
            )
        return tuple(charts)

    def profile_charts(self) -> tuple[LineChart, ...]:
        """Return a chart per operand and axis: largest magnitude per group of channels or columns."""
        charts = []
        for (operand, axis, length), group in _groups(
            self.profiles, lambda one: (one.operand, one.axis, len(one.maxima))
        ).items():
            size = group[0].grouped()[0]
            charts.append(
                LineChart(
                    name=f"profile-{operand}-{axis}",
                    title=f"{operand}: largest magnitude along {axis}",
                    table="maxima",
                    x_label=axis if size == 1 else f"{axis} (the maximum of each {size})",
                    y_label="largest magnitude",
                    x=np.arange(0, length, size, dtype=np.float64),
                    lines={one.transform: one.grouped()[1].astype(np.float64) for one in group},
                )
            )
        return tuple(charts)


def save_detail(layer: str, charts: Sequence[LineChart], target: Target) -> None:
    """Draw a layer's charts, two beside each other, into ``target`` (``.png`` or ``.pdf``)."""
    rows = -(-len(charts) // 2)
    figure = Figure(figsize=(9.2, 0.4 + 2.5 * rows), layout="constrained")
    figure.suptitle(layer, fontsize=10, parse_math=False)
    axes = figure.subplots(rows, 2, squeeze=False).ravel()
    for chart, axis in zip(charts, axes, strict=False):
        draw_lines(axis, chart)
    for axis in axes[len(charts) :]:
        axis.set_visible(False)
    save_figure(figure, target)


def histogram_table(details: Mapping[str, LayerDetail]) -> pd.DataFrame:
    """Return every bin that holds a value: ``layer, operand, transform, low, high, count``."""
    rows = [
        (layer, one.operand, one.transform, float(one.edges[bin_]), float(one.edges[bin_ + 1]), int(count))
        for layer, detail in details.items()
        for one in detail.histograms
        for bin_, count in enumerate(one.counts)
        if count
    ]
    return pd.DataFrame(rows, columns=["layer", "operand", "transform", "low", "high", "count"])


def maxima_table(details: Mapping[str, LayerDetail]) -> pd.DataFrame:
    """Return profiles as drawn: ``layer, operand, transform, axis, first, last, maximum`` of each group."""
    rows = []
    for layer, detail in details.items():
        for one in detail.profiles:
            size, groups = one.grouped()
            for index, maximum in enumerate(groups):
                last = min((index + 1) * size, len(one.maxima)) - 1
                rows.append((layer, one.operand, one.transform, one.axis, index * size, last, float(maximum)))
    columns = ["layer", "operand", "transform", "axis", "first", "last", "maximum"]
    return pd.DataFrame(rows, columns=columns)


def _groups(items: Iterable[Item], key: Callable[[Item], Hashable]) -> dict[Any, list[Item]]:
    groups: dict[Any, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _density(histogram: Histogram) -> NDArray[np.float64]:
    """Return each bin's share over its width; an empty bin is NaN, a gap on a logarithmic axis."""
    counts = histogram.counts.astype(np.float64)
    density = counts / (max(counts.sum(), 1.0) * np.diff(histogram.edges))
    return np.where(counts > 0, density, np.nan)
