"""``hqsim hw`` on the machines that are shipped."""

import json
import re

import pytest

from hqsim.cost import hardware_path, list_hardware


def test_list_names_every_shipped_machine(hqsim):
    answer = hqsim("hw", "list")
    assert answer.code == 0
    for name in list_hardware():
        assert re.search(rf"^ *{re.escape(name)} ", answer.out, re.MULTILINE)
    assert re.search(
        r"^ *edge-npu-16x16 +500 MHz +256 GOPS at 8 x 8 +544 KiB +12\.8 GB/s ", answer.out, re.MULTILINE
    )
    names = [entry["name"] for entry in hqsim("hw", "list", "--json", "-").json()["hardware"]]
    assert names == list_hardware()


def test_show_tells_figures_and_which_are_assumed(hqsim):
    answer = hqsim("hw", "show", "edge-npu-16x16")
    assert answer.code == 0
    for line in (
        r"matrix\.array\.geometry\.kind +systolic",
        r"matrix\.array\.geometry\.rows +16",
        r"matrix\.array\.native\.8x8\.rate +1",
        r"matrix\.array\.multiply\.8x8\.energy_pj +0\.2",
        r"hadamard\.orders +1, 2, 3, 4, 5",
        r"on_chip\.sram\.holds +activations, sums, tables, weights",
        r"vector\.energy_by_kind_pj\.norm +3\.5 \(assumed\)",
        r"requantize_per_cycle +-",
    ):
        assert re.search(rf"^{line}$", answer.out, re.MULTILINE), line
    (unit,) = hqsim("hw", "show", "edge-npu-16x16", "--json", "-").json()["matrix"]
    assert (unit["name"], unit["geometry"]["rows"]) == ("array", 16)


def test_show_of_an_unknown_name_suggests_the_nearest(hqsim):
    answer = hqsim("hw", "show", "edge-npu-16")
    assert answer.code == 2
    assert re.match(
        r"hqsim: error: unknown hardware 'edge-npu-16'; did you mean 'edge-npu-16x16'\?", answer.err
    )


def test_validate_tells_the_faults_of_all_files(hqsim, tmp_path):
    good = hardware_path("edge-npu-16x16")
    bad = [tmp_path / "tab.yaml", tmp_path / "unknown-key.yaml"]
    bad[0].write_text("name:\tx\n\tclock: 1\n")
    bad[1].write_text(good.read_text() + "\nfrobnicate: 1\n")
    assert hqsim("hw", "validate", good).out == f"{good}: valid\n"
    answer = hqsim("hw", "validate", good, *bad, "--json", tmp_path / "faults.json")
    assert answer.code == 2
    assert answer.out == f"{good}: valid\n"
    assert re.search(r"tab\.yaml:\d+:\d+: ", answer.err)
    assert re.search(r"unknown-key\.yaml:\d+:\d+: .*frobnicate", answer.err)
    files = json.loads((tmp_path / "faults.json").read_text())["files"]
    assert [entry["valid"] for entry in files] == [True, False, False]
    assert files[0]["error"] is None


@pytest.mark.parametrize("target", ["stdout", "-", "file"])
def test_schema_is_a_json_schema_that_forbids_other_keys(hqsim, tmp_path, target):
    path = tmp_path / "schema.json"
    arguments = {"stdout": [], "-": ["--json", "-"], "file": ["--json", path, "--quiet"]}[target]
    answer = hqsim("hw", "schema", *arguments)
    assert answer.code == 0
    schema = json.loads(path.read_text() if target == "file" else answer.out)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert {"name", "clock_hz", "matrix", "memory"} <= set(schema["properties"])
