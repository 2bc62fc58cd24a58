"""What each verb asks of the packages behind it, and what it answers."""

import csv
import json
import re

import pytest


def test_models(hqsim, world):
    answer = hqsim("models")
    assert answer.code == 0
    for text in ("digits", "unet", "1.23 M", "98.7 M", "embedded", "UCI digits [32 x 32]"):
        assert text in answer.out
    assert hqsim("models", "--json", "-").json() == {
        "models": [
            {
                "name": "digits",
                "kind": "unet",
                "parameters": 1_234_567,
                "macs": 98_700_000,
                "embedded": True,
                "description": "UCI digits [32 x 32]",
            }
        ]
    }


def test_quantize_passes_its_options_and_saves(hqsim, world, tmp_path):
    out = tmp_path / "q"
    options = ["--steps", "10", "--images", "4", "--guidance", "2.5", "--seed", "7"]
    answer = hqsim("quantize", "digits", "--recipe", "hqdm-w4a4", "--out", out, *options, "--json", "-")
    assert answer.code == 0
    arguments, keywords = world.last("quantize")
    assert arguments == ("loaded digits", "loaded hqdm-w4a4")
    assert keywords.pop("progress") is not None
    assert keywords == {"seed": 7, "steps": 10, "images": 4, "guidance": 2.5}
    result = answer.json()
    config_size = (out / "config.json").stat().st_size
    assert result["files_bytes"] == {"config.json": config_size, "model.safetensors": 5000}
    assert result["size_bytes"] == config_size + 5000
    assert (result["model"], result["recipe"], result["out"]) == ("digits", "hqdm-w4a4", str(out))


def test_verify_tells_its_summary_and_passes(hqsim, world, quantized):
    answer = hqsim("verify", quantized, "--steps", "5", "--images", "2", "--against", "exact")
    assert answer.code == 0
    assert re.search(r"^mismatches +0$", answer.out, re.MULTILINE)
    arguments, keywords = world.last("verify")
    assert arguments == (f"quantized {quantized}",)
    keywords.pop("progress")
    assert keywords == {"steps": 5, "images": 2, "seed": 0, "guidance": None, "against": "exact"}


@pytest.mark.parametrize(("mismatches", "passed"), [(1, True), (1, False), (0, False)])
def test_verify_fails_with_code_3_after_telling_the_result(hqsim, world, quantized, mismatches, passed):
    world.verdict.mismatches, world.verdict.passed = mismatches, passed
    answer = hqsim("verify", quantized, "--json", "-")
    assert answer.code == 3
    assert answer.json()["mismatches"] == mismatches


def test_simulate_passes_labels_and_saves(hqsim, world, quantized, tmp_path):
    out = tmp_path / "images"
    answer = hqsim("simulate", quantized, "--out", out, "--labels", "0", "2-4", "7,9", "--json", "-")
    assert answer.code == 0
    _, keywords = world.last("simulate")
    assert keywords["labels"] == [0, 2, 3, 4, 7, 9]
    assert keywords["images"] is None
    assert keywords["executor"] == "integer"
    assert (out / "codes.npy").is_file()
    result = answer.json()
    assert result["shape"] == [3, 1, 32, 32]
    assert result["labels"] == [0, 1, 2]


@pytest.mark.parametrize("labels", ["x", "3-1", "-5", "1.5", ","])
def test_simulate_refuses_labels_that_are_no_numbers(hqsim, world, quantized, tmp_path, labels):
    answer = hqsim("simulate", quantized, "--out", tmp_path / "images", f"--labels={labels}")
    assert answer.code == 2
    assert re.match(r"hqsim: error: --labels: .*0-9", answer.err)
    assert world.calls == []


def test_simulate_refuses_a_model_that_is_not_quantized(hqsim, world, tmp_path):
    answer = hqsim("simulate", "digits", "--out", tmp_path / "a", "--images", "2")
    assert answer.code == 2
    assert re.match(r"hqsim: error: 'digits' is not the folder of a quantized model", answer.err)
    assert world.calls == []


def test_estimate_takes_several_machines_after_one_flag(hqsim, world):
    machines = ["edge-npu-16x16", "tpu-v4i", "h200"]
    arguments = ["estimate", "ldm4-imagenet", "--recipe", "hqdm-w4a4", "--hardware", *machines]
    answer = hqsim(*arguments, "--batch", "2")
    assert answer.code == 0
    calls = [(args, keywords) for name, args, keywords in world.calls if name == "estimate"]
    assert [args for args, _ in calls] == [("loaded ldm4-imagenet", name) for name in machines]
    assert all(keywords == {"recipe": "hqdm-w4a4", "steps": 20, "batch": 2} for _, keywords in calls)
    row = next(line for line in answer.out.splitlines() if "edge-npu-16x16" in line)
    assert re.split(r"\s{2,}", row.strip()) == [
        "edge-npu-16x16", "1.50 ms", "15.0 ms", "1.00 mJ", "1.5 MiB", "62.5 %", "matrix",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["--hardware", "h200", "--hardware", "tpu-v4i"],
        ["--hardware", "h200,tpu-v4i"],
        ["--hardware=h200", "tpu-v4i"],
        ["--hardware", "h200", "tpu-v4i", "h200"],
    ],
)
def test_estimate_takes_machines_in_every_spelling(hqsim, world, arguments):
    answer = hqsim("estimate", "digits", *arguments, "--json", "-")
    assert answer.code == 0
    assert [entry["machine"] for entry in answer.json()["estimates"]] == ["h200", "tpu-v4i"]


def test_estimate_of_one_machine_holds_layers_and_total(hqsim, world):
    result = hqsim("estimate", "digits", "--hardware", "h200", "--json", "-").json()
    assert list(result) == ["machine", "hardware", "layers", "total"]
    assert [layer["layer"] for layer in result["layers"]] == ["conv_in", "mid"]


def test_estimate_writes_the_layers_of_all_machines(hqsim, world, tmp_path):
    path = tmp_path / "layers.csv"
    assert hqsim("estimate", "digits", "--hardware", "h200", "tpu-v4i", "--csv", path).code == 0
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["machine", "layer", "cycles"],
            ["h200", "conv_in", "100"],
            ["h200", "mid", "200"],
            ["tpu-v4i", "conv_in", "100"],
            ["tpu-v4i", "mid", "200"],
        ]


def test_estimate_of_a_quantized_folder(hqsim, world, quantized):
    assert hqsim("estimate", quantized, "--hardware", "h200").code == 0
    assert world.last("estimate")[0][0] == f"quantized {quantized}"
    answer = hqsim("estimate", quantized, "--hardware", "h200", "--recipe", "hqdm-w4a4")
    assert answer.code == 2
    assert re.match(r"hqsim: error: --recipe hqdm-w4a4: .* has its recipe already", answer.err)


def test_demo_writes_and_names_the_report(hqsim, world, tmp_path):
    out = tmp_path / "demo"
    answer = hqsim("demo", "--out", out, "--images", "8", "--seed", "3")
    assert answer.code == 0
    assert answer.out.splitlines() == ["verdict  0 mismatching codes", f"report   {out / 'index.html'}"]
    arguments, keywords = world.last("run_demo")
    keywords.pop("progress")
    assert arguments == (out,)
    assert keywords == {"recipe": "hqdm-channel-w4a4", "images": 8, "seed": 3}


def test_demo_replaces_an_earlier_report_only_when_told(hqsim, world, tmp_path, full_folder):
    out = tmp_path / "demo"
    assert hqsim("demo", "--out", out).code == 0
    assert hqsim("demo", "--out", out).code == 2
    (out / "old.csv").write_text("old")
    assert hqsim("demo", "--out", out, "--overwrite").code == 0
    assert sorted(path.name for path in out.iterdir()) == ["index.html", "manifest.json"]
    assert hqsim("demo", "--out", full_folder, "--overwrite").code == 2
    assert (full_folder / "keep.txt").read_text() == "mine"


def test_an_unknown_recipe_leaves_the_earlier_report_alone(hqsim, world, tmp_path):
    out = tmp_path / "demo"
    assert hqsim("demo", "--out", out).code == 0
    assert hqsim("demo", "--out", out, "--overwrite", "--recipe", "hqdm-w4a").code == 2
    assert (out / "index.html").is_file()


def test_json_file_holds_what_stdout_would(hqsim, world, quantized, tmp_path):
    path = tmp_path / "verdict.json"
    answer = hqsim("verify", quantized, "--json", path)
    assert "mismatches" in answer.out
    assert json.loads(path.read_text()) == {"codes_compared": 10, "mismatches": 0, "sqnr_db": None}
    assert path.read_text() == hqsim("verify", quantized, "--json", "-").out
