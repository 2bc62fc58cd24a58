"""Put a run's data together: index.html, CSVs and figures in one folder."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from hqsim.report.data import RunReport
from hqsim.report.energy import PREFIX, EnergyChart, energy_chart
from hqsim.report.figures import save_energy, save_heatmap, save_images
from hqsim.report.heatmap import StepGrid, heatmap_of, step_grids
from hqsim.report.images import contact_sheets
from hqsim.report.manifest import manifest_lines
from hqsim.report.roofline import save_rooflines
from hqsim.report.scale import VIRIDIS
from hqsim.report.tables import machine_views, table_of

TABLES = ("layers", "step_layers", "totals", "quality")


def write_report(run: RunReport, folder: Path) -> Path:
    """Write the report of ``run`` into ``folder`` and return the path of its page.

    Written are ``index.html`` and, for what ``run`` holds, ``layers.csv``, ``step_layers.csv``,
    ``totals.csv``, ``quality.csv``, and in ``figures/`` ``heatmap.png``, ``images.png``, ``energy.png`` and
    ``roofline.png``. The same ``run`` gives the same bytes. ``folder`` must exist; files of these names in it
    are replaced.

    Raises
    ------
    OSError
        If ``folder`` does not exist or cannot be written.
    """
    for name in TABLES:
        frame: pd.DataFrame = getattr(run, name)
        if not frame.empty:
            frame.to_csv(folder / f"{name}.csv", index=False, encoding="utf-8", lineterminator="\n")
    grids = step_grids(run.step_layers, run.layers)
    energy = energy_chart(run.totals)
    figures = folder / "figures"
    if grids or run.images or energy or run.rooflines:
        figures.mkdir(exist_ok=True)
    if grids:
        save_heatmap(grids, figures / "heatmap.png")
    if run.images:
        save_images(run.images, run.image_labels, figures / "images.png")
    if energy:
        save_energy(energy, figures / "energy.png")
    roofline = ""
    if run.rooflines:
        save_rooflines(run.rooflines, figures / "roofline.png")
        roofline = base64.b64encode((figures / "roofline.png").read_bytes()).decode("ascii")
    page = folder / "index.html"
    page.write_text(render_page(run, grids, energy, roofline), encoding="utf-8", newline="\n")
    return page


def render_page(run: RunReport, grids: tuple[StepGrid, ...], energy: EnergyChart, roofline: str) -> str:
    """Return the text of the page; everything that comes from ``run`` is escaped.

    ``roofline`` is the figure as a PNG in base64, empty without one.
    """
    environment = Environment(
        loader=FunctionLoader(_resource), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    script = _resource("table.js").strip()
    parts = [name for name in run.totals.columns if str(name).startswith(PREFIX)]
    return environment.get_template("page.html.j2").render(
        run=run,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        style=Markup(_resource("style.css").strip()),
        contact=contact_sheets(run.images, run.image_labels),
        heatmaps=tuple(heatmap_of(grid) for grid in grids),
        gradient=VIRIDIS,
        quality=table_of(run.quality),
        totals=table_of(run.totals.drop(columns=parts)),
        energy=energy,
        roofline=roofline,
        layer_views=machine_views(table_of(run.layers)),
        layer_count=len(run.layers),
        manifest=manifest_lines(run.manifest),
    )


def _resource(name: str) -> str:
    return resources.files("hqsim.report").joinpath(name).read_text(encoding="utf-8")
