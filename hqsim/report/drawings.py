"""Which figures a page has as files: where each goes, which section links to it, and how it is drawn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from hqsim.report.data import Page, RunReport
from hqsim.report.details import save_detail
from hqsim.report.energy import energy_chart
from hqsim.report.figures import Target, save_energy, save_figure, save_heatmap, save_images, save_shares
from hqsim.report.grid import Grid
from hqsim.report.lines import LineChart, draw_lines
from hqsim.report.roofline import save_rooflines
from hqsim.report.timeline import save_timelines
from hqsim.report.tradeoff import Tradeoff, save_tradeoff

DRAWN_LAYERS = 5
"""So many layers of a page, of each run at least one, have a figure of their own: those that hurt most."""
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True)
class Drawing:
    """One figure: ``path`` from the page without a suffix; ``run`` is empty for those of the comparison."""

    run: str
    section: str
    name: str
    path: str
    draw: Callable[[Target], None]


def drawings_of(page: Page) -> tuple[Drawing, ...]:
    """Return every figure of the page, the comparison's first."""
    drawings = list(_comparison(page))
    for index, run in enumerate(page.runs):
        stem = f"figures/{_file_name(run.name, index)}"
        for section, name, draw in _run(run, max(1, DRAWN_LAYERS // len(page.runs))):
            drawings.append(Drawing(run.name, section, name, f"{stem}-{name}", draw))
    return tuple(drawings)


def drawn_layers(run: RunReport, count: int) -> tuple[str, ...]:
    """Return the ``count`` layers that have a figure of their own, the one that hurts most first."""
    if run.shares.empty:
        return tuple(run.details)[:count]
    largest = run.shares.nlargest(count, "share_percent")["layer"].astype(str)
    return tuple(layer for layer in largest if layer in run.details)


def _comparison(page: Page) -> Iterator[Drawing]:
    if page.comparison is None:
        return
    for tradeoff in page.comparison.tradeoffs:
        path = f"figures/{_UNSAFE.sub('_', tradeoff.name)}"
        yield Drawing("", "tradeoffs", tradeoff.title, path, partial(_save_tradeoff, tradeoff))
    if page.comparison.images:
        images = partial(save_images, page.comparison.images, page.comparison.image_labels)
        yield Drawing("", "compared-images", "images", "figures/images", images)


def _run(run: RunReport, layers: int) -> Iterator[tuple[str, str, Callable[[Target], None]]]:
    together: dict[tuple[str, tuple[str, ...]], list[Grid]] = {}
    for grid in run.grids:
        together.setdefault((grid.table, grid.rows), []).append(grid)
    for (table, _), grids in together.items():
        # Grids of one table have the same rows, unless some were measured at fewer of them.
        yield "grids", table if len(grids) > 1 else grids[0].name, partial(save_heatmap, grids)
    if not run.shares.empty:
        yield "shares", "shares", partial(save_shares, run.shares)
    for chart in run.curves:
        yield "curves", chart.name, partial(_save_lines, chart)
    energy = energy_chart(run.totals)
    if energy:
        yield "machines", "energy", partial(save_energy, energy)
    if run.rooflines:
        yield "rooflines", "roofline", partial(save_rooflines, run.rooflines)
    if run.timelines:
        yield "timelines", "timeline", partial(save_timelines, run.timelines)
    if run.images:
        yield "images", "images", partial(save_images, run.images, run.image_labels)
    for rank, layer in enumerate(drawn_layers(run, layers), start=1):
        detail = run.details[layer]
        charts = (*detail.histogram_charts(), *detail.profile_charts())
        if charts:
            yield "drill", f"layer-{rank}", partial(save_detail, layer, charts)


def _save_tradeoff(tradeoff: Tradeoff, target: Target) -> None:
    cost_label, points = tradeoff.scaled()
    quality_label = tradeoff.quality_label
    save_tradeoff(points, target, cost_label=cost_label, quality_label=quality_label, hollow=tradeoff.hollow)


def _save_lines(chart: LineChart, target: Target) -> None:
    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    draw_lines(figure.subplots(), chart)
    save_figure(figure, target)


def _file_name(name: str, index: int) -> str:
    """Return letters, digits, dots and dashes of ``name`` after the run's place, so that no two are equal."""
    return f"{index + 1}-{_UNSAFE.sub('_', name)[:60]}"
