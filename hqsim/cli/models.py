"""``hqsim models``: the models that hqsim knows by name."""

from __future__ import annotations

from hqsim.cli.arguments import JsonOption, QuietOption
from hqsim.cli.console import Output, quantity


def models(json: JsonOption = None, quiet: QuietOption = False) -> None:
    """List the built-in models: size, multiply-accumulates per step, weights embedded or random."""
    output = Output(json, quiet)
    from hqsim.models import list_models

    known = list_models()
    rows = [
        (
            info.name,
            info.kind,
            quantity(info.parameters, ""),
            quantity(info.macs, ""),
            "embedded" if info.embedded else "random",
            info.description,
        )
        for info in known
    ]
    output.table("Models", ("name", "kind", "parameters", "MACs per step", "weights", "description"), rows)
    output.result({"models": known})
