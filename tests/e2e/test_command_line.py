"""The command line as a user runs it, in processes of its own, on the embedded model."""

import json
import os
import shutil
import subprocess
import sys

import pytest


def _hqsim(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "hqsim", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
        timeout=600,
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with a quantized model in it."""
    folder = tmp_path_factory.mktemp("user")
    done = _hqsim(
        "quantize",
        "digits",
        "--recipe",
        "hqdm-w4a4",
        "--out",
        "q",
        "--steps",
        "4",
        "--json",
        "q.json",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_quantize_writes_the_artefact(workplace):
    assert {path.name for path in (workplace / "q").iterdir()} == {
        "config.json",
        "manifest.json",
        "model.safetensors",
    }
    assert json.loads((workplace / "q.json").read_text())


def test_verify_simulate_and_estimate_run_on_the_artefact(workplace):
    done = _hqsim("verify", "q", "--steps", 2, "--images", 1, "--json", "v.json", cwd=workplace)
    assert done.returncode == 0, done.stdout + done.stderr
    verified = json.loads((workplace / "v.json").read_text())
    assert verified["mismatches"] == 0
    assert verified["codes_compared"] > 1_000_000
    assert {"nodes", "steps", "images", "first_divergence", "saturated", "operand_mismatch_percent"} <= set(
        verified
    )
    assert all("accumulator_bits" in layer for layer in verified["layers"])

    done = _hqsim("simulate", "q", "--images", 2, "--steps", 2, "--out", "images", "--quiet", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert len(list((workplace / "images").glob("*.png"))) == 2

    done = _hqsim(
        "estimate",
        "q",
        "--hardware",
        "edge-npu-16x16",
        "tpu-v4i",
        "--json",
        "e.json",
        "--csv",
        "e.csv",
        cwd=workplace,
    )
    assert done.returncode == 0, done.stderr
    assert "latency" in done.stdout
    entries = json.loads((workplace / "e.json").read_text())["estimates"]
    assert [entry["machine"] for entry in entries] == ["edge-npu-16x16", "tpu-v4i"]
    assert {
        "cycles",
        "latency_s",
        "energy_pj",
        "dram_bytes",
        "sram_bytes",
        "macs",
        "utilization",
        "bound_by",
    } <= set(entries[0]["total"])


BROKEN_YAML = {
    "tab.yaml": ("weights:\n\tbits: 4\n", r"tab.yaml:2:1: "),
    "twice.yaml": ("weights: {bits: 4}\nweights: {bits: 5}\n", r"twice.yaml:2:1: "),
    "unknown.yaml": (
        "weights: {bits: 4}\nactivation: {bits: 4}\n",
        r"unknown.yaml:2:1: activation: unknown key",
    ),
    "onebit.yaml": ("weights: {bits: 1}\n", r"onebit.yaml:1:17: weights.bits: "),
}


@pytest.mark.parametrize("name", BROKEN_YAML)
def test_a_broken_recipe_is_refused_with_its_place(workplace, name):
    text, message = BROKEN_YAML[name]
    (workplace / name).write_text(text)
    done = _hqsim("quantize", "digits", "--recipe", name, "--out", "never", cwd=workplace)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (workplace / "never").exists()


def test_an_exponent_without_a_dot_is_a_number(workplace):
    """``7e-12`` is text to PyYAML; a machine that says so is accepted, and text in its place is not."""
    import hqsim.cost

    text = hqsim.cost.hardware_path("edge-npu-16x16").read_text()
    assert "multiply_pj: [{value: 0.2," in text
    for name, value, code in (("number.yaml", "7e-12", 0), ("text.yaml", "'7e-12'", 2)):
        (workplace / name).write_text(
            text.replace("multiply_pj: [{value: 0.2,", f"multiply_pj: [{{value: {value},")
        )
        done = _hqsim("hw", "validate", name, cwd=workplace)
        assert done.returncode == code, done.stderr
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "multiply_pj: [{value: 0.2," in row)
    column = len("    multiply_pj: [{value: ") + 1
    assert f"text.yaml:{line}:{column}: matrix[0].multiply_pj[0].value: must be a number" in " ".join(
        done.stderr.split()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("quantize", "digit", "--recipe", "hqdm-w4a4", "--out", "never"), "did you mean 'digits'?"),
        (("quantize", "digits", "--recipe", "hqmd-w4a4", "--out", "never"), "did you mean 'hqdm-w4a4'?"),
        (("quantize", "digits", "--recipe", "hqdm-w1a4", "--out", "never"), "got 1 bits, allowed 2 to 8"),
        (("estimate", "digits", "--hardware", "edge-npu-16x15"), "did you mean 'edge-npu-16x16'?"),
        (("quantize", "digits", "--recipe", "hqdm-w4a4", "--out", "q"), "not empty"),
        (("verify", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_ends_with_exit_code_2(workplace, arguments, message):
    done = _hqsim(*arguments, cwd=workplace)
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.split())
    assert not (workplace / "never").exists()


@pytest.mark.parametrize("damage", ["truncate", "tamper"])
def test_a_damaged_artefact_is_refused(workplace, damage):
    copy = workplace / damage
    shutil.copytree(workplace / "q", copy)
    file = copy / "model.safetensors"
    data = bytearray(file.read_bytes())
    if damage == "truncate":
        data = data[: len(data) // 2]
    else:
        data[-100] ^= 1
    file.write_bytes(bytes(data))
    done = _hqsim("verify", copy, cwd=workplace)
    assert done.returncode == 2
    assert "model.safetensors" in done.stderr


def test_a_mismatch_ends_with_exit_code_3(workplace):
    """A kernel with a planted fault of 1 LSB, in a process of its own."""
    code = (
        "import sys, hqsim.kernels.softmax as s\n"
        "kernel = s.softmax\n"
        "def faulty(*a):\n"
        "    r = kernel(*a); a[3][0, 0] += 1; return r\n"
        "s.softmax = faulty\n"
        "from hqsim.cli.run import run\n"
        "sys.exit(run(['verify', 'q', '--steps', '1', '--images', '1', '--against', 'exact']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=workplace, check=False, timeout=300
    )
    assert done.returncode == 3, done.stderr
    assert "softmax" in done.stdout
