"""``hqsim trace``: what it asks for, writes and refuses before any work; ``estimate --trace``."""

import re

from hqsim.analysis.run_folder import read_run, write_run
from tests.cli.conftest import _run


def test_trace_passes_its_options_and_writes_a_run(hqsim, world, quantized, tmp_path):
    out = tmp_path / "run"
    options = ["--parts", "codes,cost", "--steps", "4", "--images", "2", "--guidance", "1.5", "--seed", "7"]
    lists = ["--layers", "conv_in", "*.to_q", "--hardware", "h200", "tpu-v4i"]
    answer = hqsim("trace", quantized, "--out", out, *options, *lists, "--json", "-")
    assert answer.code == 0
    arguments, keywords = world.last("trace")
    assert arguments == (f"quantized {quantized}",)
    assert keywords.pop("progress") is not None
    assert keywords == {
        "parts": ["codes", "cost"],
        "steps": 4,
        "images": 2,
        "guidance": 1.5,
        "seed": 7,
        "machines": ["h200", "tpu-v4i"],
        "layers": ["conv_in", "*.to_q"],
    }
    assert read_run(out).layers["layer"].tolist() == ["conv_in"]
    result = answer.json()
    assert (result["recipe"], result["out"]) == ("hqdm-w4a4", str(out))
    assert result["files_bytes"]["layers.csv"] == len("layer,macs\nconv_in,1000\n")


def test_trace_measures_everything_by_default(hqsim, world, quantized, tmp_path):
    answer = hqsim("trace", quantized, "--out", tmp_path / "run")
    assert answer.code == 0
    assert re.search(r"^layers\.csv +24 B$", answer.out, re.MULTILINE)
    wanted = ["outliers", "codes", "errors", "sensitivity", "quality", "cost"]
    assert world.last("trace")[1]["parts"] == wanted


def test_trace_refuses_before_it_works(hqsim, world, quantized, full_folder, tmp_path):
    answer = hqsim("trace", quantized, "--out", full_folder)
    assert answer.code == 2
    assert "the folder is not empty" in answer.err
    answer = hqsim("trace", quantized, "--out", tmp_path / "run", "--parts", "code")
    assert answer.code == 2
    assert answer.err.startswith("hqsim: error: unknown part 'code'; did you mean 'codes'?")
    answer = hqsim("trace", tmp_path, "--out", tmp_path / "run")
    assert answer.code == 2
    assert world.names() == []
    assert not (tmp_path / "run").exists()


def test_estimate_reads_a_run(hqsim, world, quantized, tmp_path):
    run = write_run(tmp_path / "run", _run())
    assert hqsim("estimate", quantized, "--hardware", "h200", "--trace", run).code == 0
    assert world.last("compare")[1]["trace"].name == "hqdm-w4a4"
    answer = hqsim("estimate", quantized, "--hardware", "h200", "--trace", tmp_path)
    assert answer.code == 2
    assert "has no manifest.json" in answer.err
