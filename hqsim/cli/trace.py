"""``hqsim trace``: measure a quantized model into a run folder that reports and estimates read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hqsim.cli.arguments import (
    FolderArgument,
    GuidanceOption,
    JsonOption,
    QuietOption,
    SeedOption,
    StepsOption,
    check_new_folder,
    load_quantized_folder,
    split_commas,
)
from hqsim.cli.console import Output, quantity
from hqsim.errors import unknown_name


class Part(StrEnum):
    """Values of ``--parts``, in the order in which they are measured."""

    OUTLIERS = "outliers"
    CODES = "codes"
    ERRORS = "errors"
    SENSITIVITY = "sensitivity"
    QUALITY = "quality"
    COST = "cost"


def trace(
    folder: FolderArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new or empty folder for the run.")],
    parts: Annotated[
        list[str] | None,
        typer.Option(
            "--parts", metavar="PART ...", help=f"What is measured: {', '.join(Part)} (default: all)."
        ),
    ] = None,
    steps: StepsOption = 20,
    images: Annotated[int, typer.Option("--images", min=1, help="Images that are followed.")] = 8,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layers",
            metavar="PATTERN ...",
            help="Layers whose histograms, maxima and codes are kept (default: all, but no codes).",
        ),
    ] = None,
    hardware: Annotated[
        list[str] | None,
        typer.Option("--hardware", metavar="NAME|FILE ...", help="Machines for the part 'cost'."),
    ] = None,
    guidance: GuidanceOption = None,
    seed: SeedOption = 0,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure outliers, codes, errors, sensitivity, quality and cost into a run folder.

    traces/FORMAT.md describes its files. 'hqsim report' makes a page of it; 'hqsim estimate --trace' reads
    which zeros, toggles and sums were seen.
    """
    output = Output(json, quiet)
    check_new_folder(out)
    wanted = split_commas(parts or []) or list(Part)
    for part in wanted:
        if part not in list(Part):
            raise unknown_name("part", part, list(Part))
    quantized = load_quantized_folder(folder)
    from hqsim.analysis.run_folder import write_run
    from hqsim.analysis.trace import trace as run_trace

    with output.progress() as progress:
        run = run_trace(
            quantized,
            parts=wanted,
            steps=steps,
            images=images,
            guidance=guidance,
            seed=seed,
            machines=split_commas(hardware or []),
            layers=split_commas(layers or []),
            progress=progress,
        )
    write_run(out, run)
    files = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    output.pairs([("folder", str(out)), *((name, quantity(size, "B")) for name, size in files.items())])
    output.result({"model": folder, "out": str(out), **run.settings, "files_bytes": files})
