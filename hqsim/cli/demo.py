"""``hqsim demo``: the main job on the embedded model, from weights to report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from hqsim.cli.arguments import JsonOption, QuietOption, SeedOption, check_new_folder
from hqsim.cli.console import Output
from hqsim.cli.run import ExitCode

REPORT_FILES = ("index.html", "manifest.json")


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="A new or empty folder for the report.")
    ] = Path("reports/demo"),
    recipe: Annotated[
        str, typer.Option("--recipe", metavar="R", help="A recipe's name or a YAML file.")
    ] = "hqdm-channel-w4a4",
    images: Annotated[int, typer.Option("--images", min=1, help="Images behind the quality figures.")] = 100,
    seed: SeedOption = 0,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace an earlier report in that folder (all of the folder)."),
    ] = False,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Quantize the embedded model, run it in integers, verify it, cost it, and write the report."""
    output = Output(json, quiet)
    earlier = out.is_dir() and all((out / name).is_file() for name in REPORT_FILES)
    if not (overwrite and earlier):
        check_new_folder(out)
    from hqsim.quantize import load_recipe

    load_recipe(recipe)
    if overwrite and earlier:
        shutil.rmtree(out)
    from hqsim.analysis.demo import run_demo

    with output.progress() as progress:
        result = run_demo(out, recipe=recipe, images=images, seed=seed, progress=progress)
    output.pairs([*result.summary(), ("report", str(result.page))])
    output.result(result.to_json())
    if not result.passed:
        raise typer.Exit(ExitCode.NUMERICS_FAILED)
