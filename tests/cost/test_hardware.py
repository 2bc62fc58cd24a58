import json
import re
from pathlib import Path

import pytest

from hqsim.cost import hardware_json_schema, hardware_path, list_hardware, load_hardware
from hqsim.cost.hardware import hardware_folder
from hqsim.errors import InputError

EDGE = hardware_path("edge-npu-16x16").read_text()


def load_changed(tmp_path: Path, *changes: tuple[str, str]):
    text = EDGE
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = tmp_path / "machine.yaml"
    path.write_text(text)
    return load_hardware(path)


def line_of(text: str) -> int:
    return EDGE[: EDGE.index(text)].count("\n") + 1


def test_shipped_machines_load_under_their_own_name():
    assert {"edge-npu-16x16", "tpu-v4i"} <= set(list_hardware())
    for name in list_hardware():
        assert load_hardware(name).name == name


def test_tpu_v4i_has_its_published_peak_and_bandwidth():
    tpu = load_hardware("tpu-v4i")
    # 138 int8 TOPS (Jouppi et al., ISCA 2021), two operations per multiply-accumulate.
    assert 2 * tpu.matrix.cells * tpu.clock_hz == pytest.approx(138e12, rel=0.005)
    assert tpu.dram.bytes_per_cycle * tpu.clock_hz == pytest.approx(614e9)
    assert tpu.on_chip[-1].size_bytes == 128 * 2**20
    assert tpu.static_power_w.assumed
    assert not tpu.matrix.multiply.energy_pj.assumed


def test_edge_npu_is_16_by_16_int8_weight_stationary():
    edge = load_hardware("edge-npu-16x16").matrix
    assert (edge.rows, edge.cols, edge.arrays, edge.dataflow) == (16, 16, 1, "ws")
    assert edge.native_bits == ((8, 8),)


def test_json_schema_file_is_current():
    committed = json.loads((hardware_folder() / "schema.json").read_text())
    assert committed == hardware_json_schema()


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(InputError, match=r"unknown hardware 'tpu-v4'; did you mean 'tpu-v4i'\?"):
        load_hardware("tpu-v4")
    with pytest.raises(InputError, match=r"hardware file 'no/such\.yaml' does not exist"):
        load_hardware("no/such.yaml")


def test_a_path_and_a_name_load_the_same(tmp_path):
    assert load_changed(tmp_path) == load_hardware("edge-npu-16x16")


REFUSED = [
    (
        "size_bytes: {value: 524288,",
        "size_bytes: {value: -1,",
        r"size_bytes\.value: .*greater than 0, not -1",
    ),
    ("bandwidth: {value: 32,", "bandwidth: {value: 0,", r"bandwidth\.value: must be .*greater than 0, not 0"),
    ("dataflow: ws", "dataflow: rs", r"matrix\.dataflow: must be one of 'os', 'ws', 'is', 'best', not 'rs'"),
    ("other_widths: passes", "other_width: passes", r"matrix\.other_width: unknown key .*'other_widths'"),
    ("[[8, 8]]", "[[8]]", r"native_bits\.value\[0\]: must be a list of 2 values"),
    ("[[8, 8]]", "[[0, 8]]", r"native_bits\.value\[0\]\[0\]: must be an integer, at least 1, .*not 0"),
    (
        "500.0e6, source:",
        "500.0e6, note:",
        r"clock_hz.*: a number needs either 'source: .*'",
    ),
    ("1.65, assumed: true,", "1.65, assumed: true, source: x,", r"energy_per_element_pj.*exactly one"),
    ("softmax: {value: 6,", "softmaxx: {value: 6,", r"by_kind\.softmaxx: unknown key .*'softmax'"),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED, ids=[new for _, new, _ in REFUSED])
def test_bad_values_are_refused_at_their_line(tmp_path, old, new, message):
    with pytest.raises(InputError) as caught:
        load_changed(tmp_path, (old, new))
    lines = [line for line in str(caught.value).splitlines() if re.search(message, line)]
    assert lines, str(caught.value)
    found = re.search(r"machine\.yaml:(\d+):\d+: ", lines[0])
    assert found
    assert int(found.group(1)) == line_of(old)


@pytest.mark.parametrize("name", ["buffer", "dram", "vector"])
def test_memory_names_differ_from_each_other_and_from_engines(tmp_path, name):
    with pytest.raises(InputError, match=rf"memory\.on_chip: memory names must differ .* rename {name}"):
        load_changed(tmp_path, ("- name: sram", f"- name: {name}"))


def test_missing_memory_levels_are_refused(tmp_path):
    start, end = EDGE.index("  on_chip:"), EDGE.index("  dram:")
    with pytest.raises(InputError, match=r"memory\.on_chip: is missing"):
        load_changed(tmp_path, (EDGE[start:end], ""))
    start, end = EDGE.index("  dram:"), EDGE.index("static_power_w")
    with pytest.raises(InputError, match=r"memory\.dram: is missing"):
        load_changed(tmp_path, (EDGE[start:end], ""))
    start, end = EDGE.index("    - name: buffer"), EDGE.index("  dram:")
    with pytest.raises(InputError, match=r"memory\.on_chip: must be a list of at least 1"):
        load_changed(tmp_path, (EDGE[start:end], ""), ("  on_chip:\n", "  on_chip: []\n"))


def test_all_faults_of_a_file_come_at_once(tmp_path):
    with pytest.raises(InputError) as caught:
        load_changed(
            tmp_path,
            ("rows: {value: 16,", "rows: {value: 0,"),
            ("bandwidth: {value: 192,", "bandwidth: {value: 0.0,"),
            ("clock_hz: {value: 500.0e6, source:", "clock_hz: {value: -1, note:"),
            ("static_power_w:", "static_power:"),
        )
    message = str(caught.value)
    for path in (r"matrix\.rows\.value", r"memory\.on_chip\[0\]\.bandwidth\.value", r"clock_hz\.value"):
        assert re.search(path, message)
    assert "exactly one of them" in message
    assert "static_power: unknown key" in message
    assert "static_power_w: is missing" in message
