"""``hqsim simulate``: from noise to images, in the arithmetic that is asked for."""

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
from hqsim.cli.console import Output
from hqsim.errors import InputError


class Executor(StrEnum):
    """The arithmetic of a sampling run."""

    INTEGER = "integer"
    EXACT = "exact"
    FAKEQUANT = "fakequant"
    FLOAT = "float"


def simulate(
    folder: FolderArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new or empty folder for the images.")],
    images: Annotated[
        int | None, typer.Option("--images", min=1, help="How many images (default: one per label).")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", metavar="L ...", help="Class labels: '0 1 2', '0,1,2' or '0-9'."),
    ] = None,
    executor: Annotated[Executor, typer.Option("--executor", help="The arithmetic.")] = Executor.INTEGER,
    steps: StepsOption = 20,
    guidance: GuidanceOption = None,
    seed: SeedOption = 0,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Sample images and write them with their codes."""
    output = Output(json, quiet)
    check_new_folder(out)
    label_numbers = None if labels is None else parse_labels(labels)
    loaded = load_quantized_folder(folder)
    from hqsim.simulate import simulate as run_simulate

    with output.progress() as progress:
        samples = run_simulate(
            loaded,
            labels=label_numbers,
            images=images,
            executor=executor.value,
            steps=steps,
            guidance=guidance,
            seed=seed,
            progress=progress,
        )
    samples.save(out)
    output.pairs(
        [
            ("images", " x ".join(str(size) for size in samples.codes.shape)),
            ("executor", executor.value),
            ("folder", str(out)),
        ]
    )
    output.result(
        {
            "model": folder,
            "out": str(out),
            "executor": executor.value,
            "shape": samples.codes.shape,
            "labels": samples.labels,
            "steps": steps,
            "guidance": guidance,
            "seed": seed,
        }
    )


def parse_labels(texts: list[str]) -> list[int]:
    """``["0,3", "5-7"]`` -> ``[0, 3, 5, 6, 7]``.

    Raises
    ------
    InputError
        A part is neither a number nor a rising range.
    """
    labels: list[int] = []
    for part in split_commas(texts):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(first) <= int(last))):
            raise InputError(f"--labels: '{part}' is neither a label (like 3) nor a rising range (like 0-9).")
        labels.extend(range(int(first), int(last if dash else first) + 1))
    if not labels:
        raise InputError("--labels: no label was given; write them as '0 1 2', '0,1,2' or '0-9'.")
    return labels
