import csv
from dataclasses import asdict
from pathlib import Path

import pytest

from hqsim.cost import scalesim_report
from hqsim.errors import InputError

DATA = Path(__file__).resolve().parents[1] / "data"
ROWS = [
    row
    for name in ("scalesim_sweep.csv", "scalesim_ldm4_32x32.csv")
    for row in csv.DictReader((DATA / name).read_text().splitlines())
]


def test_all_120_runs_are_there():
    assert len(ROWS) == 120
    assert {row["dataflow"] for row in ROWS} == {"os", "ws", "is"}
    assert {row["kind"] for row in ROWS} == {"gemm", "conv"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['layer']}-{row['dataflow']}-{row['rows']}")
def test_every_scalesim_run_is_reproduced(row):
    report = scalesim_report(
        int(row["M"]),
        int(row["N"]),
        int(row["K"]),
        rows=int(row["rows"]),
        cols=int(row["cols"]),
        dataflow=row["dataflow"],
    )
    for column, value in asdict(report).items():
        if isinstance(value, int):
            assert value == int(row[column]), column
        else:
            assert value == pytest.approx(float(row[column]), rel=1e-12, abs=0), column


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m": 0}, r"m must be at least 1, got 0"),
        ({"rows": -2}, r"rows must be at least 1, got -2"),
        ({"dataflow": "rs"}, r"dataflow must be one of os, ws, is, got 'rs'"),
        ({"m": 1, "n": 1, "k": 1, "rows": 1, "cols": 1, "dataflow": "os"}, r"takes one cycle"),
    ],
)
def test_impossible_runs_are_refused(change, message):
    arguments = {"m": 4, "n": 4, "k": 4, "rows": 2, "cols": 2, "dataflow": "ws", **change}
    with pytest.raises(InputError, match=message):
        scalesim_report(arguments.pop("m"), arguments.pop("n"), arguments.pop("k"), **arguments)
