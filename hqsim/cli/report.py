"""``hqsim report``: run folders as one offline page, its tables and figures beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hqsim.cli.arguments import JsonOption, QuietOption, check_new_folder
from hqsim.cli.console import Output


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN ...", help="Run folders ('hqsim trace' or 'hqsim compare').")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new or empty folder for the page.")],
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write one page about one run, or about several and how they compare."""
    output = Output(json, quiet)
    check_new_folder(out)
    from hqsim.analysis.run_folder import read_run

    read = [read_run(folder) for folder in runs]
    from hqsim.analysis.run_report import page_of
    from hqsim.io import new_folder
    from hqsim.report import write_report

    page = page_of(read)
    with new_folder(out) as folder:
        name = write_report(page, folder).name
    for run in page.runs:
        count = len(run.findings)
        output.line(f"{run.name}: {count} finding{'' if count == 1 else 's'}")
        for finding in run.findings:
            output.line(f"  {finding.text}")
    answers = page.comparison.answers if page.comparison else ()
    output.pairs([(one.question, one.answer) for one in answers])
    output.pairs([("report", str(out / name))])
    output.result(
        {
            "page": str(out / name),
            "answers": [{"question": one.question, "answer": one.answer} for one in answers],
            "runs": [
                {"name": run.name, "findings": [vars(finding) for finding in run.findings]}
                for run in page.runs
            ],
        }
    )
