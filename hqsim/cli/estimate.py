"""``hqsim estimate``: latency, energy and traffic on one or several machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hqsim.cli.arguments import (
    JsonOption,
    ModelOrFolderArgument,
    QuietOption,
    StepsOption,
    check_parent,
    is_quantized_folder,
    load_any,
    split_commas,
)
from hqsim.cli.console import Output, quantity
from hqsim.errors import InputError
from hqsim.io.atomic import write_text_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

COLUMNS = (
    "hardware",
    "latency/step",
    "latency/image",
    "energy/image",
    "DRAM/image",
    "utilisation",
    "bound by",
)


def estimate(
    model: ModelOrFolderArgument,
    hardware: Annotated[
        list[str],
        typer.Option(
            "--hardware", metavar="NAME|FILE ...", help="One or several machines (see 'hqsim hw list')."
        ),
    ],
    recipe: Annotated[
        str | None, typer.Option("--recipe", metavar="R", help="The recipe whose widths a plain MODEL gets.")
    ] = None,
    steps: StepsOption = 20,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images per step.")] = 1,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write one row per (machine, layer).")
    ] = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Tell what a denoising step and a whole image cost on each machine.

    With one machine, --json holds 'layers' and 'total'; with several, a list of these under 'estimates'.
    """
    output = Output(json, quiet)
    if csv is not None:
        check_parent(csv, option="--csv")
    machines = list(dict.fromkeys(split_commas(hardware)))
    if not machines:
        raise InputError(
            "--hardware: no machine was given; 'hqsim hw list' shows those that come with hqsim."
        )
    if recipe is not None and is_quantized_folder(model):
        raise InputError(
            f"--recipe {recipe}: the quantized model in '{model}' has its recipe already; leave it out."
        )
    from hqsim.cost import load_hardware

    for name in machines:
        load_hardware(name)
    if recipe is not None:
        from hqsim.quantize import load_recipe

        load_recipe(recipe)
    loaded = load_any(model)
    from hqsim.analysis.estimate import DEFAULT_RECIPE
    from hqsim.analysis.estimate import estimate as run_estimate

    results = {name: run_estimate(loaded, name, recipe=recipe, steps=steps, batch=batch) for name in machines}
    rows = [table_row(name, result.total, batch=batch) for name, result in results.items()]
    widths = recipe or ("as quantized" if is_quantized_folder(model) else DEFAULT_RECIPE)
    output.table(f"{model} ({widths}), {steps} steps, batch {batch}", COLUMNS, rows)
    if csv is not None:
        write_layers(csv, {name: result.layers for name, result in results.items()})
    entries = [{"machine": name, **result.to_json()} for name, result in results.items()]
    output.result(entries[0] if len(entries) == 1 else {"estimates": entries})


def table_row(name: str, total: Mapping[str, Any], *, batch: int) -> tuple[str, ...]:
    """One machine's line of the table: the mean step and one image of a whole sampling run."""
    run = total["run"]
    return (
        name,
        quantity(run["latency_s"] / run["steps"], "s"),
        quantity(run["latency_s"] / batch, "s"),
        quantity(run["energy_pj"]["total"] * 1e-12 / batch, "J"),
        quantity(run["dram_bytes"] / batch, "B"),
        f"{100 * run['utilization']:.1f} %",
        str(total["bound_by"]),
    )


def write_layers(path: Path, layers: Mapping[str, pd.DataFrame]) -> None:
    """Write the layer tables of all machines as one CSV, with the machine in the first column."""
    import pandas as pd

    table = pd.concat([frame.assign(machine=name) for name, frame in layers.items()])
    table.insert(0, "machine", table.pop("machine"))
    write_text_atomic(path, table.to_csv(index=False, lineterminator="\n"))
