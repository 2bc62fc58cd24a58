"""``hqsim diff``: what changed between two runs."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from hqsim.cli.arguments import JsonOption, QuietOption
from hqsim.cli.console import Output

RunArgument = typer.Argument(help="A run folder ('hqsim trace DIR --out RUN').")
SHOWN_LAYERS = 30
LAYER_HEADINGS = (
    "layer",
    "formats and widths",
    "own SQNR\ndB",
    "share of\nerror %",
    "latency\n%",
    "energy\n%",
)


def diff(
    first: Annotated[str, RunArgument],
    second: Annotated[str, RunArgument],
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Compare two runs: settings, then every part, then layer by layer, second less first.

    Figures of several steps are compared by their means. The exit code is 0 whether or not they differ.
    """
    output = Output(json, quiet)
    from hqsim.analysis.diff import diff_runs
    from hqsim.analysis.run_folder import read_run

    found = diff_runs(read_run(first), read_run(second))
    output.line(f"{first} and {second}: {'equal' if found.equal else 'different'}")
    for row in found.settings.to_dict("records"):
        output.line(f"{row['what']}: {row['first']} -> {row['second']}")
    parts = found.parts.to_dict("records")
    output.table(
        "Parts",
        ("part", "state", "rows", "changed"),
        [(row["part"], row["state"], _count(row["rows"]), _count(row["changed"])) for row in parts],
    )
    overall = found.changes[found.changes["part"].isin(["quality", "totals"])].to_dict("records")
    if overall:
        output.table(
            "Quality and totals",
            ("of", "figure", "first", "second", "change"),
            [
                (row["row"], row["column"], *(_number(row[name]) for name in ("first", "second", "change")))
                for row in overall
            ],
        )
    layers = found.layers.to_dict("records")
    if layers:
        title = "Layer by layer"
        title += f", costs on {found.machine}" if found.machine else ""
        output.table(title, LAYER_HEADINGS, [_layer(row) for row in layers[:SHOWN_LAYERS]])
    if len(layers) > SHOWN_LAYERS:
        output.line(f"{len(layers) - SHOWN_LAYERS} more layers differ; --json FILE holds all of them")
    output.result({"folders": [first, second], **found.to_json()})


def _layer(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("alone_change_db", "share_change_percent", "latency_change_percent", "energy_change_percent")
    formats = row["formats"] if isinstance(row["formats"], str) else "equal"
    return (row["layer"], formats, *(_signed(row[name]) for name in names))


def _signed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.2f}"


def _count(value: int) -> str:
    return f"{value:,}" if value else ""


def _number(value: Any) -> str:
    if isinstance(value, str | bool):
        return str(value)
    return "" if math.isnan(value) else f"{value:.4g}"
