"""Streams: results on stdout, progress and errors on stderr, and what --quiet and --json leave out."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hqsim.cli.console import Output, plain, quantity


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00123, "s", "1.23 ms"),
        (1.0, "s", "1.00 s"),
        (0.99996, "s", "1.00 s"),
        (999.96e-6, "s", "1.00 ms"),
        (12.34, "s", "12.3 s"),
        (123.4, "s", "123 s"),
        (4.5e-7, "s", "450 ns"),
        (2e9 * 1e-12, "J", "2.00 mJ"),
        (5e-12, "J", "5.00 pJ"),
        (700e6, "Hz", "700 MHz"),
        (1_234_567, "", "1.23 M"),
        (0, "s", "0 s"),
        (float("inf"), "s", "inf s"),
        (-0.25, "s", "-250 ms"),
        (512, "B", "512 B"),
        (3 * 1024**2, "B", "3.00 MiB"),
        (614e9, "B/s", "614 GB/s"),
    ],
)
def test_quantity(value, unit, text):
    assert quantity(value, unit) == text


def test_progress_is_on_stderr_a_line_per_stage(hqsim, world, quantized):
    answer = hqsim("verify", quantized)
    assert answer.err == "first stage ...\nsecond stage ...\n"
    assert "stage" not in answer.out


def test_progress_bars_on_a_terminal(hqsim, world, quantized, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    answer = hqsim("verify", quantized)
    assert answer.code == 0
    assert "first stage" in answer.err
    assert "2/2" in answer.err


@pytest.mark.parametrize("verb", ["models", "verify", "estimate", "quantize"])
def test_quiet_says_nothing(hqsim, world, quantized, tmp_path, verb):
    arguments = {
        "models": [],
        "verify": [quantized],
        "estimate": ["digits", "--hardware", "h200"],
        "quantize": ["digits", "--recipe", "hqdm-w4a4", "--out", tmp_path / "q"],
    }[verb]
    answer = hqsim(verb, *arguments, "--quiet")
    assert (answer.code, answer.out, answer.err) == (0, "", "")


def test_quiet_still_tells_errors_and_writes_json(hqsim, world, quantized):
    assert hqsim("verify", "digits", "--quiet").err.startswith("hqsim: error: ")
    assert hqsim("verify", quantized, "--quiet", "--json", "-").json()["codes_compared"] == 10


def test_json_on_stdout_stands_alone(hqsim, world, quantized):
    answer = hqsim("verify", quantized, "--json", "-")
    assert answer.json()["mismatches"] == 0
    assert answer.err == "first stage ...\nsecond stage ...\n"


def test_json_replaces_a_file_whole(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old and longer than what comes")
    Output(str(path)).result({"b": 1, "a": "µ"})
    assert path.read_text(encoding="utf-8") == '{\n  "b": 1,\n  "a": "µ"\n}\n'
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_plain_makes_json_of_what_the_packages_return():
    @dataclass(frozen=True)
    class Point:
        x: np.float64
        path: Path

    value = {
        "scalar": np.int64(3),
        "array": np.array([[1.5, np.nan]]),
        "tuple": (1, np.inf),
        "point": Point(np.float64(-np.inf), Path("a/b")),
        "flag": np.bool_(True),
        4: None,
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "scalar": 3,
        "array": [[1.5, None]],
        "tuple": [1, None],
        "point": {"x": None, "path": "a/b"},
        "flag": True,
        "4": None,
    }


def test_table_shows_markup_as_text_and_aligns_numbers(capsys):
    Output().table("t [red]", ("name", "value"), [("[bold]a[/bold]", "1.5 s"), ("b", "22 s")])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "t [red]"
    row_a, row_b = (
        next(line for line in lines if line.startswith(name)) for name in ("[bold]a[/bold]", "b ")
    )
    assert len(row_a) == len(row_b)
