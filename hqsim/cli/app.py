"""The verbs, put together."""

from __future__ import annotations

from typing import Annotated

import typer

import hqsim
from hqsim.cli import (
    compare,
    demo,
    diff,
    estimate,
    explain,
    hw,
    models,
    quantize,
    report,
    simulate,
    trace,
    verify,
)
from hqsim.cli.arguments import SpreadCommand

app = typer.Typer(
    name="hqsim",
    help="Bit-accurate integer simulation and accelerator modelling for quantized diffusion models.",
    epilog="Exit codes: 0 done, 2 bad input, 3 numerics check failed, 1 internal fault, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"hqsim {hqsim.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    pass


app.command("demo")(demo.demo)
app.command("models")(models.models)
app.command("quantize")(quantize.quantize)
app.command("verify")(verify.verify)
app.command("simulate", cls=SpreadCommand)(simulate.simulate)
app.command("estimate", cls=SpreadCommand)(estimate.estimate)
app.command("compare", cls=SpreadCommand)(compare.compare)
app.command("diff")(diff.diff)
app.command("explain", cls=SpreadCommand)(explain.explain)
app.command("report")(report.report)
app.command("trace", cls=SpreadCommand)(trace.trace)
app.add_typer(hw.app, name="hw")
