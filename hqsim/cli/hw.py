"""``hqsim hw``: the machines that hqsim knows, and the form of their files."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hqsim.cli.arguments import JsonOption, QuietOption
from hqsim.cli.console import Output, quantity
from hqsim.errors import InputError

if TYPE_CHECKING:
    from hqsim.cost.machine import Hardware

COLUMNS = ("name", "clock", "peak", "on-chip memory", "DRAM bandwidth", "description")

app = typer.Typer(help="List, show and check hardware descriptions.", no_args_is_help=True)


@app.command("list")
def list_machines(json: JsonOption = None, quiet: QuietOption = False) -> None:
    """List the machines that come with hqsim."""
    output = Output(json, quiet)
    from hqsim.cost import list_hardware, load_hardware

    machines = [load_hardware(name) for name in list_hardware()]
    output.table("Machines", COLUMNS, [_overview(machine) for machine in machines])
    output.result({"hardware": [{"name": item.name, "description": item.description} for item in machines]})


@app.command("show")
def show(
    machine: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A name of 'hw list', or a YAML file.")],
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show every figure of one machine, and which of them are assumed."""
    output = Output(json, quiet)
    from hqsim.cost import hardware_json, load_hardware

    values = hardware_json(load_hardware(machine))
    output.pairs(list(_flatten("", values)))
    output.result(values)


@app.command("validate")
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE ...", help="Accelerator files to check.")],
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Check accelerator files; every fault of every file is told (exit code 2)."""
    output = Output(json, quiet)
    from hqsim.cost import load_hardware

    faults: dict[Path, str | None] = {}
    for file in files:
        try:
            load_hardware(file)
            faults[file] = None
            output.line(f"{file}: valid")
        except InputError as error:
            faults[file] = str(error)
    output.result(
        {
            "files": [
                {"file": str(file), "valid": fault is None, "error": fault} for file, fault in faults.items()
            ]
        }
    )
    told = [fault for fault in faults.values() if fault is not None]
    if told:
        raise InputError("\n".join(told))


@app.command("schema")
def schema(json: JsonOption = None, quiet: QuietOption = False) -> None:
    """Print the JSON Schema of an accelerator file, for editors."""
    output = Output(json, quiet)
    from hqsim.cost import hardware_json_schema

    content = hardware_json_schema()
    if json is None:
        output.line(json_text.dumps(content, indent=2))
    output.result(content)


def _overview(machine: Hardware) -> tuple[str, ...]:
    return (
        machine.name,
        quantity(machine.clock_hz, "Hz"),
        _peak(machine),
        quantity(sum(level.size_bytes or 0 for level in machine.on_chip), "B"),
        quantity(machine.dram.bytes_per_cycle * machine.clock_hz, "B/s"),
        machine.description,
    )


def _peak(machine: Hardware) -> str:
    """Return operations per second (two per MAC) of the fastest unit at its fastest widths, and these."""
    from hqsim.cost.widths import native_widths

    rates = [(unit.cells * pair.rate, pair) for unit in machine.matrix for pair in native_widths(unit)]
    macs_per_cycle, pair = max(rates, key=lambda entry: entry[0])
    return f"{quantity(2 * macs_per_cycle * machine.clock_hz, 'OPS')} at {pair.a_bits} x {pair.w_bits}"


def _flatten(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """One line per figure: ``on_chip.sram.bytes_per_cycle  32``; an assumed one says so."""
    if isinstance(value, Mapping):
        if set(value) == {"value", "assumed"}:
            yield path, f"{value['value']:.10g}{' (assumed)' if value['assumed'] else ''}"
            return
        for key, item in value.items():
            yield from _flatten(f"{path}.{key}" if path else key, item)
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for item in value:
            label, rest = _labelled(item)
            yield from _flatten(f"{path}.{label}", rest)
    elif isinstance(value, list):
        yield path, ", ".join(str(item) for item in value)
    elif isinstance(value, float):
        yield path, f"{value:.10g}"
    else:
        yield path, "-" if value is None else str(value)


def _labelled(item: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return what tells an entry of a list from the others, its name or its widths, and its other values."""
    keys = ("name",) if "name" in item else ("a_bits", "w_bits")
    label = "x".join(str(item[key]) for key in keys)
    return label, {key: inner for key, inner in item.items() if key not in keys}
