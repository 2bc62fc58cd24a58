"""``hqsim explain``: one layer in words."""

from __future__ import annotations

from typing import Annotated

import typer

from hqsim.cli.arguments import (
    JsonOption,
    QuietOption,
    is_quantized_folder,
    load_quantized_folder,
    split_commas,
)
from hqsim.cli.console import Output
from hqsim.errors import InputError


def explain(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="The folder of a quantized model, or a run folder.")
    ],
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="A matrix layer's name.")],
    hardware: Annotated[
        list[str] | None,
        typer.Option("--hardware", metavar="NAME|FILE ...", help="Machines that the layer is costed on."),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option("--trace", metavar="RUN", help="A run of this model, for errors and observed sums."),
    ] = None,
    scales: Annotated[
        bool, typer.Option("--scales", help="Print the scale and zero-point of every timestep.")
    ] = False,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Tell a layer's work, formats, transform, widths, where its bound comes from, and what it costs."""
    output = Output(json, quiet)
    machines = list(dict.fromkeys(split_commas(hardware or [])))
    from hqsim.analysis.explain import explain_model, explain_run
    from hqsim.analysis.run_folder import is_run_folder, read_run

    if is_quantized_folder(folder):
        from hqsim.analysis.estimate import estimate
        from hqsim.cost import load_hardware

        loaded = [load_hardware(name) for name in machines]
        qmodel = load_quantized_folder(folder)
        run = read_run(trace) if trace else None
        estimates = {machine.name: estimate(qmodel, machine) for machine in loaded}
        found = explain_model(qmodel, layer, estimates, run)
    elif is_run_folder(folder):
        if machines or trace or scales:
            raise InputError(
                f"'{folder}' is a run: --hardware, --trace and --scales need the folder of a quantized model"
            )
        found = explain_run(read_run(folder), layer)
    else:
        raise InputError(
            f"'{folder}' is neither the folder of a quantized model ('hqsim quantize ... --out DIR') "
            "nor a run ('hqsim trace DIR --out RUN')"
        )
    for section in found.sections:
        output.line(section.title)
        output.pairs([(f"  {label}", text) for label, text in section.lines])
        output.line("")
    if scales:
        columns = ("operand", "timestep", "scale", "zero_point")
        rows = [tuple(f"{row[name]:.6g}" for name in columns) for row in found.scales]
        output.table("scales", columns, rows)
    output.result(found.to_json())
