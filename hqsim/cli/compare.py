"""``hqsim compare``: several recipes of one model side by side, in quality and in hardware."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hqsim.cli.arguments import (
    GuidanceOption,
    JsonOption,
    ModelArgument,
    QuietOption,
    SeedOption,
    StepsOption,
    split_commas,
)
from hqsim.cli.console import Output, quantity
from hqsim.cli.trace import Part
from hqsim.errors import InputError, unknown_name

GRID_PARTS = (Part.QUALITY, Part.COST)
COLUMNS = (
    "recipe",
    "SQNR dB",
    "stored\nbits",
    "multiplier\nbits",
    "accumulator\nbits",
    "size",
    "machine",
    "latency\n/ image",
    "energy\n/ image",
    "on the\nfront",
)
LEGEND = (
    "SQNR: of the integer model's images against float from the same seeds; 95 % bootstrap interval",
    "bits: stored, mean over activations; multiplier, largest (mean by multiply-accumulates)",
    "on the front: no other recipe is as good in SQNR and as cheap in energy (E), in latency (L)",
)


def compare(
    model: ModelArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="A new folder, or one where the same comparison was interrupted."
        ),
    ],
    recipes: Annotated[
        list[str] | None,
        typer.Option("--recipes", metavar="R ...", help="Recipes by name or YAML file: 'R1,R2' or 'R1 R2'."),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            metavar="FILE ...",
            help="YAML: all combinations of its transforms, symmetric, widths, orders.",
        ),
    ] = None,
    hardware: Annotated[
        list[str] | None,
        typer.Option("--hardware", metavar="NAME|FILE ...", help="Machines that every recipe is costed on."),
    ] = None,
    parts: Annotated[
        list[str] | None,
        typer.Option(
            "--parts",
            metavar="PART ...",
            help=f"What is measured: {', '.join(Part)} (default: all; with --grid {', '.join(GRID_PARTS)}).",
        ),
    ] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Images behind the quality figures.")] = 64,
    steps: StepsOption = 20,
    guidance: GuidanceOption = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            help="Recipes worked on at a time, each with the model in memory (default: cores).",
        ),
    ] = None,
    untrained: Annotated[
        bool,
        typer.Option("--untrained", help="Calibrate every recipe, also those that ship trained."),
    ] = False,
    seed: SeedOption = 0,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Quantize MODEL by every recipe, measure each run, and write table, claims and page.

    Killed and started again with the same options, it keeps what is complete.
    """
    output = Output(json, quiet)
    names, machines = split_commas(recipes or []), tuple(dict.fromkeys(split_commas(hardware or [])))
    grids = split_commas(grid or [])
    if not names and not grids:
        raise InputError("--recipes: none was given; name some, as in 'ptq-w4a4,hqdm-w4a4', or give --grid")
    wanted = split_commas(parts or []) or list(GRID_PARTS if grids else Part)
    for part in wanted:
        if part not in list(Part):
            raise unknown_name("part", part, list(Part))
    if machines and Part.COST not in wanted:
        raise InputError("--hardware: given without the part 'cost'; add it to --parts, or name no machine")
    from hqsim.quantize import load_recipe

    loaded_recipes = [load_recipe(name) for name in names]
    from hqsim.models import load_model

    loaded_model = load_model(model)
    left_out: Mapping[str, str] = {}
    if grids:
        from hqsim.analysis.grid import grid_plan, load_grid

        plan = grid_plan([load_grid(file) for file in grids], loaded_model.graph)
        loaded_recipes += plan.recipes
        left_out = plan.left_out
    from hqsim.analysis.compare import CompareSettings
    from hqsim.analysis.compare import compare as run_compare
    from hqsim.analysis.run_report import page_of
    from hqsim.report import write_report

    settings = CompareSettings(
        images=images,
        steps=steps,
        guidance=guidance,
        seed=seed,
        machines=machines,
        parts=tuple(str(part) for part in wanted),
        untrained=untrained,
    )
    with output.progress() as progress:
        runs, found = run_compare(
            loaded_model,
            loaded_recipes,
            out,
            settings=settings,
            left_out=left_out,
            jobs=jobs or os.cpu_count() or 1,
            progress=progress,
        )
    page = write_report(page_of(runs, found), out)
    rows = found.table.to_dict("records")
    output.table(f"{model}, {images} images, {steps} steps", COLUMNS, [_line(row) for row in rows])
    for line in LEGEND:
        output.line(line)
    for row in found.left_out.to_dict("records"):
        output.line(f"{row['what']}: {row['reason']}")
    verdicts = found.claims["verdict"].value_counts()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    output.pairs([("the paper's claims", counts), ("report", str(page))])
    output.result(
        {
            "model": model,
            "out": str(out),
            "page": str(page),
            "table": rows,
            "claims": found.claims.to_dict("records"),
            "left_out": found.left_out.to_dict("records"),
        }
    )


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One run on one machine."""
    quality = "not measured"
    if not math.isnan(row["sqnr_db"]):
        quality = f"{row['sqnr_db']:.2f} ({row['sqnr_low_db']:.2f} to {row['sqnr_high_db']:.2f})"
    front = [mark for mark, name in (("E", "pareto_energy"), ("L", "pareto_latency")) if row[name]]
    return (
        f"{row['run']}{' (trained)' if row['trained'] else ''}",
        quality,
        f"{row['storage_bits']:.1f}",
        f"{row['multiplier_bits']} ({row['multiplier_bits_mean']:.1f})",
        str(row["accumulator_bits"]),
        quantity(row["model_bytes"], "B"),
        row["machine"],
        _cost(row["latency_s"], "s"),
        _cost(row["energy_pj"] * 1e-12, "J"),
        " ".join(front),
    )


def _cost(value: float, unit: str) -> str:
    return "" if math.isnan(value) else quantity(value, unit)
