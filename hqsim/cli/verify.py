"""``hqsim verify``: does the integer model do what the exact and the fake-quant models do?"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from hqsim.cli.arguments import (
    FolderArgument,
    GuidanceOption,
    JsonOption,
    QuietOption,
    SeedOption,
    StepsOption,
    load_quantized_folder,
)
from hqsim.cli.console import Output
from hqsim.cli.run import ExitCode


class Against(StrEnum):
    """What the integer executor is compared with."""

    EXACT = "exact"
    FAKEQUANT = "fakequant"
    BOTH = "both"


def verify(
    folder: FolderArgument,
    steps: StepsOption = 20,
    images: Annotated[int, typer.Option("--images", min=1, help="Images that are sampled and compared.")] = 8,
    against: Annotated[
        Against,
        typer.Option("--against", help="Compare with the exact executor, the fake-quant one, or both."),
    ] = Against.BOTH,
    guidance: GuidanceOption = None,
    seed: SeedOption = 0,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Compare the integer executor code for code with the exact one, and with fake-quant layer by layer.

    Exit code 3 when a code differs from the exact executor or another check fails.
    """
    output = Output(json, quiet)
    quantized = load_quantized_folder(folder)
    from hqsim.simulate import verify as run_verify

    with output.progress() as progress:
        result = run_verify(
            quantized,
            steps=steps,
            images=images,
            seed=seed,
            guidance=guidance,
            against=against.value,
            progress=progress,
        )
    output.pairs(result.summary())
    output.result(result.to_json())
    if result.mismatches > 0 or not result.passed:
        raise typer.Exit(ExitCode.NUMERICS_FAILED)
