"""``hqsim estimate``: what it asks for, its tables, its files, and machines that refuse."""

import csv
import re

import pytest

from hqsim.cli.estimate import Realisation
from hqsim.cli.estimate_tables import percent

ONE = ("estimate", "digits", "--hardware", "h200")


def rows(text, name):
    """Cells of every line that starts with ``name``."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.startswith(name)]


def test_several_machines_after_one_flag_and_every_option(hqsim, world):
    machines = ["edge-npu-16x16", "tpu-v4i", "h200"]
    arguments = ["estimate", "ldm4-imagenet", "--recipe", "hqdm-w4a4", "--hardware", *machines]
    answer = hqsim(*arguments, "--batch", "2", "--guidance", "1.5", "--realisation", "fold")
    assert answer.code == 0
    (asked,) = [(args, keywords) for name, args, keywords in world.calls if name == "compare"]
    assert asked == (
        ("loaded ldm4-imagenet", machines),
        {
            "recipe": "hqdm-w4a4", "steps": 20, "batch": 2, "guidance": 1.5, "mapping": None,
            "realisation": "fold", "trace": None,
        },
    )  # fmt: skip
    assert answer.out.splitlines()[0].rstrip() == "ldm4-imagenet, hqdm-w4a4, 20 steps, batch 2, guidance 1.5"
    assert [rows(answer.out, name)[0] for name in machines[:1]] == [
        ["edge-npu-16x16", "1.50 ms", "15.0 ms", "1.00 mJ", "154 KiB", "62 %", "matrix 75 %", "2.0 %"]
    ]


def test_the_first_machine_is_taken_apart(hqsim, world):
    out = hqsim(*ONE).out
    assert rows(out, "norm") == [["norm", "1", "75 %", "70 %", "0 %"]]
    assert rows(out, "convolution") == [["convolution", "1", "25 %", "30 %", "100 %"]]
    assert rows(out, "mid") == [["mid", "1.50 ms", "75 %", "matrix"]]
    assert rows(out, "conv_in") == [["conv_in", "500 µs", "25 %", "4 x 8", "9 x 8", "dram"]]


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_the_tables_fit_the_terminal(hqsim, world, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    world.refusals["tpu-v4i"] = "layer 'conv_in' needs a multiplier that this machine does not have; " * 3
    out = hqsim("estimate", "digits", "--hardware", "edge-npu-16x16", "h200", "tpu-v4i").out
    out = re.sub(r"\x1b\[\d*m", "", out)
    assert [line for line in out.splitlines() if len(line.rstrip()) > columns] == []
    assert len(rows(out, "edge-npu-16x16")[0]) == 8, "a machine is one line"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--hardware", "h200", "--hardware", "tpu-v4i"],
        ["--hardware", "h200,tpu-v4i"],
        ["--hardware=h200", "tpu-v4i"],
        ["--hardware", "h200", "tpu-v4i", "h200"],
    ],
)
def test_machines_in_every_spelling(hqsim, world, arguments):
    answer = hqsim("estimate", "digits", *arguments, "--json", "-")
    assert answer.code == 0
    assert [entry["machine"] for entry in answer.json()["estimates"]] == ["h200", "tpu-v4i"]


def test_one_machine_holds_layers_and_total(hqsim, world):
    result = hqsim(*ONE, "--json", "-").json()
    assert list(result) == ["machine", "hardware", "layers", "total"]
    assert [layer["name"] for layer in result["layers"]] == ["conv_in", "mid"]


def test_the_csv_holds_the_layers_of_all_machines(hqsim, world, tmp_path):
    path = tmp_path / "layers.csv"
    assert hqsim("estimate", "digits", "--hardware", "h200", "tpu-v4i", "--csv", path).code == 0
    with path.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["machine"], row["name"], row["cycles"]) for row in table] == [
        ("h200", "conv_in", "100"),
        ("h200", "mid", "300"),
        ("tpu-v4i", "conv_in", "100"),
        ("tpu-v4i", "mid", "300"),
    ]
    assert list(table[0])[:2] == ["machine", "name"]


def test_a_machine_that_refuses_is_a_row_with_the_reason(hqsim, world):
    world.refusals["h200"] = "layer 'mid' needs 9 x 4 bits"
    answer = hqsim("estimate", "digits", "--hardware", "h200", "tpu-v4i", "--json", "-")
    assert answer.code == 0
    assert answer.json()["estimates"][0] == {"machine": "h200", "refused": "layer 'mid' needs 9 x 4 bits"}
    out = hqsim("estimate", "digits", "--hardware", "h200", "tpu-v4i").out
    assert "h200 refuses: layer 'mid' needs 9 x 4 bits\n" in out
    assert "Where a step goes on tpu-v4i" in out


def test_when_all_refuse_that_is_an_error_with_every_reason(hqsim, world):
    world.refusals |= {"h200": "too narrow", "tpu-v4i": "too small"}
    answer = hqsim("estimate", "digits", "--hardware", "h200", "tpu-v4i")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == "hqsim: error: h200: too narrow\ntpu-v4i: too small\n"


def test_a_refusal_with_its_place_in_the_file_names_the_file_once(hqsim, world):
    world.refusals["h200"] = "h200:3:5: matrix[0].native: too narrow"
    answer = hqsim("estimate", "digits", "--hardware", "h200")
    assert answer.err == "hqsim: error: h200:3:5: matrix[0].native: too narrow\n"


def test_a_quantized_folder(hqsim, world, quantized):
    answer = hqsim("estimate", quantized, "--hardware", "h200")
    assert answer.code == 0
    assert "as quantized, 20 steps, batch 1, guidance 3" in " ".join(answer.out.split())
    assert world.last("compare")[0][0] == f"quantized {quantized}"
    answer = hqsim("estimate", quantized, "--hardware", "h200", "--recipe", "hqdm-w4a4")
    assert answer.code == 2
    assert re.match(r"hqsim: error: --recipe hqdm-w4a4: .* has its recipe already", answer.err)


def test_the_energy_is_drawn(hqsim, world, tmp_path):
    path = tmp_path / "energy.png"
    assert hqsim(*ONE, "--energy", path).code == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_realisations_are_the_cost_models():
    from hqsim.cost.candidates import POLICIES

    assert {item.value for item in Realisation} == set(POLICIES)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 %"), (0.04, "< 0.1 %"), (3.44, "3.4 %"), (9.97, "10 %"), (99.6, "100 %"), (62.5, "62 %")],
)
def test_percent(value, text):
    assert percent(value) == text
