"""``hqsim estimate``: latency, energy and traffic on one or several machines."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hqsim.cli.arguments import (
    GuidanceOption,
    JsonOption,
    ModelOrFolderArgument,
    QuietOption,
    StepsOption,
    check_parent,
    is_quantized_folder,
    load_any,
    split_commas,
)
from hqsim.cli.console import Output
from hqsim.cli.estimate_tables import print_tables
from hqsim.errors import InputError, UnsupportedError
from hqsim.io.atomic import write_text_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from hqsim.analysis.estimate import Comparison
    from hqsim.cost import Estimate

FIGURE = "(.png or .pdf)"


class Realisation(StrEnum):
    """Values of ``--realisation``."""

    BEST = "best"
    RUNTIME = "runtime"
    FOLD = "fold"
    PARITY = "parity"
    AS_LOWERED = "as_lowered"


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
    guidance: GuidanceOption = None,
    mapping: Annotated[
        Path | None,
        typer.Option("--mapping", metavar="FILE", help="YAML that fixes unit, dataflow or tiles of layers."),
    ] = None,
    realisation: Annotated[
        Realisation,
        typer.Option("--realisation", help="How a single Hadamard is executed; best: fewest cycles."),
    ] = Realisation.BEST,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace", metavar="RUN", help="A run of this model: zeros, toggles, sums as seen there."
        ),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write one row per (machine, layer).")
    ] = None,
    json: JsonOption = None,
    roofline: Annotated[
        Path | None,
        typer.Option("--roofline", metavar="FILE", help=f"Draw every machine's roofline {FIGURE}."),
    ] = None,
    energy: Annotated[
        Path | None, typer.Option("--energy", metavar="FILE", help=f"Draw the energy by part {FIGURE}.")
    ] = None,
    timeline: Annotated[
        Path | None,
        typer.Option("--timeline", metavar="FILE", help="Write one step for ui.perfetto.dev (JSON)."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Tell what a denoising step and a whole image cost on each machine.

    A machine that cannot run the model is named with the reason; the exit code is 2 when none can. With one
    machine, --json holds 'layers' and 'total'; with several, a list of these under 'estimates'.
    """
    output = Output(json, quiet)
    _check_files(csv=csv, roofline=roofline, energy=energy, timeline=timeline)
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
    rules = None
    if mapping is not None:
        from hqsim.cost.mapping import load_mapping

        rules = load_mapping(mapping)
    if recipe is not None:
        from hqsim.quantize import load_recipe

        load_recipe(recipe)
    run = None
    if trace is not None:
        from hqsim.analysis.run_folder import read_run

        run = read_run(trace)
    loaded = load_any(model)
    from hqsim.analysis.breakdown import machine_totals
    from hqsim.analysis.estimate import DEFAULT_RECIPE, compare, guidance_of

    found = compare(
        loaded,
        machines,
        recipe=recipe,
        steps=steps,
        batch=batch,
        guidance=guidance,
        mapping=rules,
        realisation=realisation.value,
        trace=run,
    )
    if not found.estimates:
        # A reason within a machine's file starts with its name.
        raise UnsupportedError(
            "\n".join(
                reason if reason.startswith(f"{name}:") else f"{name}: {reason}"
                for name, reason in found.refusals.items()
            )
        )
    widths = recipe or ("as quantized" if is_quantized_folder(model) else DEFAULT_RECIPE)
    title = f"{model}, {widths}, {steps} steps, batch {batch}, guidance {guidance_of(loaded, guidance):g}"
    totals = machine_totals(found.estimates, images=batch)
    first = next(iter(found.estimates.values()))
    print_tables(output, title, totals, found.refusals, first.layers)
    if csv is not None:
        write_layers(csv, {name: result.layers for name, result in found.estimates.items()})
    _draw(found.estimates, totals, roofline=roofline, energy=energy)
    if timeline is not None:
        from hqsim.cost.timeline import timeline_json

        write_text_atomic(timeline, timeline_json(list(found.estimates.values())))
    entries = [_entry(name, found) for name in machines]
    output.result(entries[0] if len(entries) == 1 else {"estimates": entries})


def _check_files(*, csv: Path | None, timeline: Path | None, **figures: Path | None) -> None:
    """Refuse a file that cannot be written before any work."""
    for name, path in {"csv": csv, "timeline": timeline, **figures}.items():
        if path is not None:
            check_parent(path, option=f"--{name}")
    for path in filter(None, figures.values()):
        from hqsim.report.figures import check_figure_path

        check_figure_path(path)


def _draw(
    estimates: Mapping[str, Estimate], totals: pd.DataFrame, *, roofline: Path | None, energy: Path | None
) -> None:
    if roofline is not None:
        from hqsim.analysis.roofline import roofline_panel
        from hqsim.report.roofline import save_rooflines

        save_rooflines([roofline_panel(result) for result in estimates.values()], roofline)
    if energy is not None:
        from hqsim.report.energy import energy_chart
        from hqsim.report.figures import save_energy

        save_energy(energy_chart(totals), energy)


def _entry(name: str, found: Comparison) -> dict[str, Any]:
    if name in found.refusals:
        return {"machine": name, "refused": found.refusals[name]}
    return {"machine": name, **found.estimates[name].to_json()}


def write_layers(path: Path, layers: Mapping[str, pd.DataFrame]) -> None:
    """Write the layer tables of all machines as one CSV, with the machine in the first column."""
    import pandas as pd

    table = pd.concat([frame.assign(machine=name) for name, frame in layers.items()])
    table.insert(0, "machine", table.pop("machine"))
    write_text_atomic(path, table.to_csv(index=False, lineterminator="\n"))
