"""Put a page together: index.html, tables as CSV and figures as PNG and PDF in one folder."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from hqsim.report.block import block_of
from hqsim.report.data import Page, RunReport
from hqsim.report.details import histogram_table, maxima_table
from hqsim.report.drawings import Drawing, drawings_of
from hqsim.report.energy import PREFIX, energy_chart
from hqsim.report.images import contact_sheets
from hqsim.report.manifest import manifest_lines
from hqsim.report.tables import table_of

SCRIPTS = ("dom.js", "charts.js", "heatmap.js", "layers.js", "page.js")
FORMATS = ("png", "pdf")
Link = tuple[str, str]
"""Path of a file beside the page, and what the link to it says."""


def write_report(page: Page, folder: Path) -> Path:
    """Write ``page`` into ``folder`` and return the path of its ``index.html``.

    Beside it lie the tables as CSV, the runs' rows together under the run's name in ``run``, and every figure
    in ``figures/`` as PNG and PDF. The same page gives the same bytes. ``folder`` must exist; files of
    these names in it are replaced.

    Raises
    ------
    OSError
        If ``folder`` does not exist or cannot be written.
    """
    tables = tables_of(page)
    for name, frame in tables.items():
        frame.to_csv(folder / f"{name}.csv", index=False, encoding="utf-8", lineterminator="\n")
    drawings = drawings_of(page)
    if drawings:
        (folder / "figures").mkdir(exist_ok=True)
    for drawing in drawings:
        drawing.draw(tuple(folder / f"{drawing.path}.{kind}" for kind in FORMATS))
    target = folder / "index.html"
    target.write_text(render_page(page, tables, drawings), encoding="utf-8", newline="\n")
    return target


def tables_of(page: Page) -> dict[str, pd.DataFrame]:
    """Return the tables beside the page by name, the rows of all runs together; empty ones are left out."""
    together: dict[str, list[pd.DataFrame]] = {}
    for run in page.runs:
        own = {
            "layers": run.layers,
            "totals": run.totals,
            "quality": run.quality,
            **run.tables,
            "histograms": histogram_table(run.details),
            "maxima": maxima_table(run.details),
        }
        for name, frame in own.items():
            if not frame.empty:
                labelled = frame.drop(columns="run", errors="ignore").copy()
                labelled.insert(0, "run", run.name)
                together.setdefault(name, []).append(labelled)
    tables = {name: pd.concat(frames, ignore_index=True) for name, frames in together.items()}
    if page.comparison:
        compared = {
            "comparison": page.comparison.table,
            "claims": page.comparison.claims,
            "left-out": page.comparison.left_out,
        }
        tables |= {name: frame for name, frame in compared.items() if not frame.empty}
    return tables


def render_page(page: Page, tables: Mapping[str, pd.DataFrame], drawings: tuple[Drawing, ...]) -> str:
    """Return the text of the page; everything that comes from ``page`` is escaped."""
    environment = Environment(
        loader=FunctionLoader(_resource), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    script = "\n".join(_resource(name).strip() for name in SCRIPTS)

    def links(section: str, *names: str, run: str = "") -> list[Link]:
        """Files beside a section: tables by name, then its figures."""
        found = [(f"{name}.csv", f"{name}.csv") for name in names if name in tables]
        figures = [one for one in drawings if one.section == section and one.run == run]
        for one in figures:
            lead = f"{one.name} " if len(figures) > 1 else ""
            found += [(f"{one.path}.{kind}", lead + kind.upper()) for kind in FORMATS]
        return found

    comparison = page.comparison
    return environment.get_template("page.html.j2").render(
        page=page,
        comparison=comparison,
        left_out=table_of(comparison.left_out) if comparison else (),
        claims=table_of(comparison.claims) if comparison else (),
        contact=contact_sheets(comparison.images, comparison.image_labels) if comparison else (),
        runs=[_run_view(run) for run in page.runs],
        links=links,
        block=Markup(block_of(page)),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        style=Markup(_resource("style.css").strip()),
    )


def _run_view(run: RunReport) -> dict[str, Any]:
    """Return what the template draws of a run itself; the script draws the rest from the data block."""
    parts = [name for name in run.totals.columns if str(name).startswith(PREFIX)]
    return {
        "run": run,
        "contact": contact_sheets(run.images, run.image_labels),
        "quality": table_of(run.quality),
        "totals": table_of(run.totals.drop(columns=parts)),
        "energy": energy_chart(run.totals),
        "manifest": manifest_lines(run.manifest),
    }


def _resource(name: str) -> str:
    return resources.files("hqsim.report").joinpath(name).read_text(encoding="utf-8")
