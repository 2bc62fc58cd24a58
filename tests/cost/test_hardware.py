import json
import re
from pathlib import Path

import pytest

from hqsim.cost import (
    estimate_records,
    hardware_json,
    hardware_json_schema,
    hardware_path,
    list_hardware,
    load_hardware,
)
from hqsim.cost.geometry import BitComposable, DotProduct, RowStationary, Systolic, TensorCore
from hqsim.cost.hardware import hardware_folder
from hqsim.errors import InputError, UnsupportedError
from tests.cost.builders import linear

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
    (unit,) = tpu.matrix
    assert 2 * unit.cells * tpu.clock_hz == pytest.approx(138e12, rel=0.005)
    assert tpu.dram.bytes_per_cycle * tpu.clock_hz == pytest.approx(614e9)
    assert tpu.on_chip[-1].size_bytes == 128 * 2**20
    assert tpu.static_power_w.assumed
    assert not unit.multiply[0].energy_pj.assumed


def test_edge_npu_is_16_by_16_int8_weight_stationary():
    (unit,) = load_hardware("edge-npu-16x16").matrix
    assert unit.geometry == Systolic(rows=16, cols=16, arrays=1, dataflow="ws")
    assert [(pair.a_bits, pair.w_bits, pair.rate) for pair in unit.native] == [(8, 8, 1.0)]


def test_a_block_of_32_points_takes_the_edge_npu_two_cycles():
    unit = load_hardware("edge-npu-16x16").hadamard
    assert unit is not None
    assert unit.block_cycles(5) == 2
    assert unit.orders == {1, 2, 3, 4, 5}


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
    (
        "dataflow: ws",
        "dataflow: rs",
        r"matrix\[0\]\.dataflow: must be one of 'os', 'ws', 'is', 'best', not 'rs'",
    ),
    (
        "other_widths: passes",
        "other_width: passes",
        r"matrix\[0\]\.other_width: unknown key .*'other_widths'",
    ),
    ("{bits: [8, 8]", "{bits: [8]", r"native\[0\]\.bits: must be a list of 2 values"),
    ("{bits: [8, 8]", "{bits: [0, 8]", r"native\[0\]\.bits\[0\]: must be an integer, at least 1, .*not 0"),
    ("{bits: [8, 8],", "{bits: [8, 8], rate: 0,", r"native\[0\]\.rate: must be .*greater than 0, not 0"),
    (
        "kind: systolic",
        "kind: sistolic",
        r"matrix\[0\]\.kind: must be one of 'bit_composable', 'dot_product', ",
    ),
    ("kind: butterfly", "kind: fft", r"hadamard\.kind: must be one of 'butterfly', 'dense', not 'fft'"),
    ("orders: {value: [1, 2, 3, 4, 5],", "orders: {value: [1, 1],", r"orders: orders must differ"),
    ("name: array", "name: vector", r"matrix: matrix unit names must differ .* rename vector"),
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


def test_memory_names_differ_from_matrix_units(tmp_path):
    with pytest.raises(InputError, match=r": memory: memory names must differ .* from array; rename array"):
        load_changed(tmp_path, ("- name: sram", "- name: array"))


def test_a_dense_transform_unit_has_no_stages(tmp_path):
    with pytest.raises(
        InputError, match=r"hadamard\.stages: unknown key .*; allowed: add_pj, kind, lanes, orders, parity$"
    ):
        load_changed(tmp_path, ("kind: butterfly", "kind: dense"))


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
    for path in (r"matrix\[0\]\.rows\.value", r"memory\.on_chip\[0\]\.bandwidth\.value", r"clock_hz\.value"):
        assert re.search(path, message)
    assert "exactly one of them" in message
    assert "static_power: unknown key" in message
    assert "static_power_w: is missing" in message


def test_a_memory_holds_every_kind_of_operand_or_those_it_names(tmp_path):
    size = "size_bytes: {value: 524288, source: design choice}"
    machine = load_changed(tmp_path, (size, f"{size}\n      holds: [activations, sums]"))
    assert machine.on_chip[1].holds == {"activations", "sums"}
    every = {"activations", "weights", "sums", "tables"}
    assert machine.on_chip[0].holds == machine.dram.holds == every
    allowed = r"one of 'activations', 'weights', 'sums', 'tables', not 'inputs'"
    with pytest.raises(InputError, match=rf"on_chip\[1\]\.holds\[0\]: must be {allowed}"):
        load_changed(tmp_path, (size, f"{size}\n      holds: [inputs]"))
    with pytest.raises(InputError, match=r"holds: must be a list of at least 1 values"):
        load_changed(tmp_path, (size, f"{size}\n      holds: []"))


NUMBER = "{value: 4, source: x}"
ARRAY = EDGE[EDGE.index("    kind: systolic") : EDGE.index("    other_widths")]
NATIVE = "    native: [{bits: [8, 8], source: x}]\n"
GEOMETRIES = [
    (("rows", "cols", "ifmap_words", "filter_words", "sum_words"), "row_stationary", RowStationary),
    (("rows", "cols", "unit_bits", "min_bits"), "bit_composable", BitComposable),
    (("m", "n", "k", "units"), "dot_product", DotProduct),
    (("units", "macs_per_cycle", "tile_m", "tile_n", "tile_k", "macs_per_word"), "tensor_core", TensorCore),
]


@pytest.mark.parametrize(("sizes", "kind", "geometry"), GEOMETRIES, ids=[kind for _, kind, _ in GEOMETRIES])
def test_every_kind_of_matrix_unit(tmp_path, sizes, kind, geometry):
    lines = "".join(f"    {size}: {NUMBER}\n" for size in sizes)
    native = "" if kind == "bit_composable" else NATIVE
    machine = load_changed(tmp_path, (ARRAY, f"    kind: {kind}\n{lines}{native}"))
    assert machine.matrix[0].geometry == geometry(**dict.fromkeys(sizes, 4))
    assert hardware_json(machine)["matrix"][0]["geometry"] == {"kind": kind, **dict.fromkeys(sizes, 4)}
    with pytest.raises(InputError, match=rf"matrix\[0\]\.{sizes[-1]}: is missing"):
        load_changed(tmp_path, (ARRAY, f"    kind: {kind}\n{lines[: lines.rindex(sizes[-1])]}\n{native}"))


def test_fused_widths_are_doublings(tmp_path):
    values = {"rows": 4, "cols": 4, "unit_bits": 12, "min_bits": 4}
    sizes = "".join(f"    {name}: {{value: {value}, source: x}}\n" for name, value in values.items())
    with pytest.raises(InputError, match=r"min_bits: unit_bits must be min_bits doubled .* got 12 and 4"):
        load_changed(tmp_path, (ARRAY, f"    kind: bit_composable\n{sizes}"))


def test_what_a_file_may_leave_out_and_give(tmp_path):
    edge = load_changed(tmp_path)
    assert (edge.requantize_per_cycle, edge.launch_s, edge.zero_gating) == (None, 0.0, False)
    assert (edge.matrix[0].operators, edge.matrix[0].toggle_pj) == (None, None)
    more = load_changed(
        tmp_path,
        (
            "static_power_w:",
            "requantize_per_cycle: {value: 16, source: x}\nlaunch_s: {value: 4.0e-6, source: x}\n"
            "zero_gating: true\nstatic_power_w:",
        ),
        ("    other_widths", "    operators: [conv2d, linear]\n    other_widths"),
        ("    other_widths", "    toggle_pj: {value: 0.01, assumed: true}\n    other_widths"),
        ("{bits: [8, 8],", "{bits: [8, 8], rate: 2,"),
        (
            "{value: 0.2, at_bits: [8, 8],",
            "{value: 0.05, at_bits: [4, 4], source: x}, {value: 0.2, at_bits: [8, 8],",
        ),
        ("orders: {value", "parity: true\n  orders: {value"),
    )
    assert (more.requantize_per_cycle, more.launch_s, more.zero_gating) == (16.0, 4e-6, True)
    (unit,) = more.matrix
    assert unit.operators == {"conv2d", "linear"}
    assert unit.toggle_pj is not None
    assert (unit.toggle_pj.value, unit.toggle_pj.assumed) == (0.01, True)
    assert unit.native[0].rate == 2
    assert [point.a_bits for point in unit.multiply] == [4, 8]
    assert more.hadamard is not None
    assert more.hadamard.parity


def test_widths_that_are_given_twice_are_refused(tmp_path):
    pair = "{bits: [8, 8], source: design choice}"
    with pytest.raises(InputError, match=r"native: native widths must differ .*; \[8, 8\] is given twice"):
        load_changed(tmp_path, (pair, f"{pair}, {pair}"))


def test_a_width_that_no_rule_covers_is_refused_at_its_place_in_the_file(tmp_path):
    machine = load_changed(tmp_path, ("other_widths: passes", "other_widths: next_wider"))
    line = line_of("native: [")
    place = rf"machine\.yaml:{line}:\d+: matrix\[0\]\.native: "
    with pytest.raises(
        UnsupportedError, match=place + "layer 'mid' needs a multiplier of 9 x 4 bits .* 8 x 8"
    ):
        estimate_records([linear("mid", k=32, order=5)], machine)


def test_a_layer_that_fits_nowhere_is_refused_at_the_size_of_the_memory(tmp_path):
    machine = load_changed(tmp_path, ("size_bytes: {value: 32768,", "size_bytes: {value: 2,"))
    line = line_of("size_bytes: {value: 32768,")
    message = rf"machine\.yaml:{line}:\d+: memory\.on_chip\[0\]\.size_bytes: layer 'mid' .*'buffer'"
    with pytest.raises(UnsupportedError, match=message):
        estimate_records([linear("mid")], machine)


def test_places_in_files_are_no_part_of_a_machine(tmp_path):
    machine = load_changed(tmp_path)
    assert machine.matrix[0].place.startswith(str(tmp_path))
    assert str(tmp_path) not in repr(machine)
    assert str(tmp_path) not in json.dumps(hardware_json(machine))
