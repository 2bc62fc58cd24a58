"""What each verb asks of the packages behind it, and what it answers."""

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
    options = ["--steps", "10", "--images", "4", "--guidance", "2.5", "--seed", "7", "--train", "9"]
    answer = hqsim("quantize", "digits", "--recipe", "hqdm-w4a4", "--out", out, *options, "--json", "-")
    assert answer.code == 0
    arguments, keywords = world.last("quantize")
    assert arguments == ("loaded digits", "loaded hqdm-w4a4")
    assert keywords.pop("progress") is not None
    assert keywords == {
        "seed": 7,
        "steps": 10,
        "images": 4,
        "guidance": 2.5,
        "train": 9,
        "checkpoint": None,
        "lessons": None,
    }
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
