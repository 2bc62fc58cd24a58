"""SCALE-Sim 3.0.0: every figure of the compatibility report on 120 runs (``tests/data/scalesim_*.csv``)."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from benchmarks.validation import DATA, show, with_errors
from hqsim.cost import scalesim_report


def compare() -> pd.DataFrame:
    """Return one row per run and column."""
    runs = pd.concat([pd.read_csv(DATA / f"scalesim_{name}.csv") for name in ("sweep", "ldm4_32x32")])
    rows = []
    for run in runs.to_dict("records"):
        report = scalesim_report(
            run["M"], run["N"], run["K"], rows=run["rows"], cols=run["cols"], dataflow=run["dataflow"]
        )
        case = {"layer": run["layer"], "dataflow": run["dataflow"], "array": f"{run['rows']} x {run['cols']}"}
        rows += [
            {**case, "quantity": column, "published": run[column], "modelled": value}
            for column, value in asdict(report).items()
        ]
    return with_errors(rows)


if __name__ == "__main__":
    show(compare())
