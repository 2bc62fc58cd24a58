"""``hqsim quantize``: from a model and a recipe to the folder of a quantized model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hqsim.cli.arguments import (
    GuidanceOption,
    JsonOption,
    ModelArgument,
    QuietOption,
    SeedOption,
    StepsOption,
    check_new_folder,
)
from hqsim.cli.console import Output, quantity
from hqsim.errors import InputError


def quantize(
    model: ModelArgument,
    recipe: Annotated[str, typer.Option("--recipe", metavar="R", help="A recipe's name or a YAML file.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new or empty folder for the result.")],
    steps: StepsOption = 20,
    images: Annotated[
        int, typer.Option("--images", min=1, help="Sampling trajectories that calibration looks at.")
    ] = 16,
    guidance: GuidanceOption = None,
    train: Annotated[
        int | None,
        typer.Option(
            "--train", min=1, metavar="UPDATES", help="Train as the recipe says, for so many updates."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="DIR", help="Where training keeps its state, and resumes from."),
    ] = None,
    lessons: Annotated[
        Path | None,
        typer.Option(
            "--lessons", metavar="DIR", help="Where the teacher's predictions are kept for other trainings."
        ),
    ] = None,
    seed: SeedOption = 0,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Calibrate MODEL on its own sampling trajectories and write packed integer weights and tables."""
    output = Output(json, quiet)
    for name, folder in {"checkpoint": checkpoint, "lessons": lessons}.items():
        if folder is not None and train is None:
            raise InputError(f"{name}: given without training; add --train UPDATES, or leave it out")
    check_new_folder(out)
    from hqsim.quantize import load_recipe

    loaded_recipe = load_recipe(recipe)
    from hqsim.models import load_model
    from hqsim.quantize import quantize as run_quantize

    loaded_model = load_model(model)
    with output.progress() as progress:
        quantized = run_quantize(
            loaded_model,
            loaded_recipe,
            seed=seed,
            steps=steps,
            images=images,
            guidance=guidance,
            train=train,
            checkpoint=checkpoint,
            lessons=lessons,
            progress=progress,
        )
    quantized.save(out)
    files = {path.name: path.stat().st_size for path in sorted(out.iterdir()) if path.is_file()}
    size_bytes = sum(files.values())
    output.pairs(
        [
            ("model", model),
            ("recipe", recipe),
            ("folder", str(out)),
            *((f"  {name}", quantity(size, "B")) for name, size in files.items()),
            ("next", f"hqsim verify {out}"),
        ]
    )
    output.result(
        {
            "model": model,
            "recipe": recipe,
            "out": str(out),
            "steps": steps,
            "images": images,
            "guidance": guidance,
            "train": train,
            "seed": seed,
            "size_bytes": size_bytes,
            "files_bytes": files,
        }
    )
