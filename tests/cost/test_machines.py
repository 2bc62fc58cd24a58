"""The shipped machines against what is published about them, and on real models."""

from functools import cache

import pytest

from hqsim.analysis.estimate import records_of
from hqsim.cost import estimate_records, list_hardware, load_hardware
from hqsim.cost.hardware import hardware_folder
from hqsim.cost.widths import multiplier_mode, native_widths

SHIPPED = {
    "a100",
    "bitfusion",
    "edge-npu-16x16",
    "ethos-u65",
    "ethos-u85-2048",
    "ethos-u85-256",
    "eyeriss-v1",
    "gemmini-default",
    "h200",
    "host-cpu",
    "hq-npu-w4a9",
    "tpu-v1",
    "tpu-v4i",
}

#: Dense operations per second (two per multiply-accumulate) at [activation, weight] bits.
PUBLISHED_PEAKS = [
    ("a100", 8, 8, 624e12),  # NVIDIA A100 data sheet, int8
    ("a100", 4, 4, 1248e12),  # the same, int4
    ("h200", 8, 8, 1979e12),  # NVIDIA H200 data sheet, int8 (3,958 with sparsity)
    ("tpu-v1", 8, 8, 92e12),  # Jouppi et al., ISCA 2017, table 2
    ("tpu-v1", 16, 8, 46e12),  # half speed, ibid., section 2
    ("tpu-v1", 16, 16, 23e12),  # quarter speed, ibid.
    ("tpu-v4i", 8, 8, 138e12),  # Jouppi et al., ISCA 2021, table 1
    ("eyeriss-v1", 16, 16, 67.2e9),  # Chen et al., JSSC 2017: 33.6 GMAC/s
    ("ethos-u65", 8, 8, 0.5e12),  # Arm: 1 TOPS for twice these MACs at 1 GHz
    ("ethos-u85-256", 8, 8, 0.5e12),  # Arm: 256 GOPS for half, 4 TOPS for eight times these MACs at 1 GHz
    ("ethos-u85-2048", 8, 8, 4e12),  # Arm: 4 TOPS at 1 GHz
    ("ethos-u65", 16, 8, 0.25e12),  # Arm: 128 products of 16 x 8 bits per cycle
]

#: Bytes of on-chip memories, and of DRAM per second.
PUBLISHED_MEMORIES = [
    ("a100", {"l2": 40 * 2**20}, 1555e9),  # NVIDIA A100 data sheet, 40 GB
    ("h200", {"l2": 50 * 2**20}, 4.8e12),  # NVIDIA H100 whitepaper; H200 data sheet
    ("tpu-v1", {"unified_buffer": 24 * 2**20, "accumulators": 4 * 2**20}, 34e9),  # Jouppi et al., ISCA 2017
    ("tpu-v4i", {"cmem": 128 * 2**20}, 614e9),  # Jouppi et al., ISCA 2021
    ("eyeriss-v1", {"buffer": 108 * 2**10}, 8 * 60e6),  # Chen et al., JSSC 2017: 64 bits at 60 MHz
    ("bitfusion", {"ibuf": 32768, "wbuf": 65536, "obuf": 16384}, 192 / 8 * 500e6),  # bf_e_conf.ini
    ("gemmini-default", {"scratchpad": 256 * 2**10, "accumulator": 64 * 2**10}, 16e9),  # 128-bit DMA
    ("ethos-u65", {"sram": 384 * 2**10}, 3.75e9),  # Vela, Ethos_U65_High_End
    ("ethos-u85-256", {"sram": 512 * 2**10}, 12e9),  # Vela, Ethos_U85_SYS_DRAM_Mid
    ("ethos-u85-2048", {"sram": 512 * 2**10}, 24e9),  # Vela, Ethos_U85_SYS_DRAM_High
]

#: Energy of a whole int8 multiply-accumulate, pJ by node: Horowitz (0.2 + 0.1), Accelforge's TPU v4i.
SOURCED_MAC_PJ = {45: 0.2 + 0.1, 7: 0.084}


def operations_per_s(name, a_bits, w_bits):
    machine = load_hardware(name)
    unit = machine.matrix[0]
    mode = multiplier_mode(unit, a_bits=a_bits, w_bits=w_bits, layer="peak")
    return 2 * unit.cells * mode.rate / mode.passes * machine.clock_hz


def sizes(machine):
    return {level.name: level.size_bytes for level in machine.on_chip}


@cache
def records(model, recipe):
    return tuple(records_of(model, recipe=recipe, batch=1, guidance=None, steps=20))


def test_the_shipped_machines_are_these_and_each_has_its_entry():
    assert set(list_hardware()) == SHIPPED
    readme = (hardware_folder() / "README.md").read_text()
    for name in SHIPPED:
        assert f"| {name} |" in readme
        headings = [line for line in readme.splitlines() if line.startswith("## ")]
        assert any(name in heading[3:].split(", ") for heading in headings), name


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_machine_carries_the_name_of_its_file(name):
    machine = load_hardware(name)
    assert machine.name == name
    assert machine.description


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_what_is_recalled_or_scaled_is_called_assumed(name):
    for line in (hardware_folder() / f"{name}.yaml").read_text().splitlines():
        if "recalled" in line or " times 0." in line or "interpolated" in line:
            assert "assumed: true" in line, line


@pytest.mark.parametrize(("name", "a_bits", "w_bits", "peak"), PUBLISHED_PEAKS)
def test_peak_rates_are_the_published_ones(name, a_bits, w_bits, peak):
    # Published figures are rounded to two or three digits; 512 GOPS are sold as 0.5 TOPS.
    assert operations_per_s(name, a_bits, w_bits) == pytest.approx(peak, rel=0.025)


@pytest.mark.parametrize(("name", "on_chip", "dram_bytes_per_s"), PUBLISHED_MEMORIES)
def test_memories_are_the_published_ones(name, on_chip, dram_bytes_per_s):
    machine = load_hardware(name)
    assert on_chip.items() <= sizes(machine).items()
    assert machine.dram.bytes_per_cycle * machine.clock_hz == pytest.approx(dram_bytes_per_s)


def test_tpu_v1_needs_1350_operations_per_byte_of_weights():
    # Jouppi et al., ISCA 2017, figure 5: the ridge point of its roofline, here in MACs.
    machine = load_hardware("tpu-v1")
    assert machine.matrix[0].cells / machine.dram.bytes_per_cycle == pytest.approx(1350, rel=0.005)


def test_tpu_v1_multiplies_within_its_measured_power():
    # Idle 28 W, busy 40 W (ISCA 2017, table 2): the arithmetic must fit between them.
    machine = load_hardware("tpu-v1")
    multiply_w = (
        machine.matrix[0].cells * machine.clock_hz * machine.matrix[0].multiply_pj(8, 8).value * 1e-12
    )
    assert machine.static_power_w.value == 28
    assert 6 < multiply_w < 40 - 28


def test_buses_carry_what_the_published_interfaces_carry():
    u65, u85 = load_hardware("ethos-u65"), load_hardware("ethos-u85-2048")
    assert u65.on_chip[-1].bytes_per_cycle == 128 / 8  # one AXI port of 128 bits
    assert u85.on_chip[-1].bytes_per_cycle == 4 * 128 / 8  # four of them
    unified = next(level for level in load_hardware("tpu-v1").on_chip if level.name == "unified_buffer")
    assert unified.bytes_per_cycle / 2 * 700e6 == pytest.approx(167 * 2**30, rel=0.001)  # ISCA 2017, figure 1
    a100 = load_hardware("a100")
    assert a100.on_chip[-1].bytes_per_cycle * a100.clock_hz == pytest.approx(7219e9, rel=0.001)


def test_bitfusion_multiplies_at_the_power_of_its_synthesis_results():
    # systolic_array_synth.csv of Sharma et al., ISCA 2018: 4 x 4 units of 2 to 8 bits, 500 MHz, in nW.
    dynamic_nw, leakage_nw = 3673500, 949240
    per_unit_pj = dynamic_nw * 1e-9 / 16 / 500e6 * 1e12
    machine = load_hardware("bitfusion")
    unit = machine.matrix[0]
    assert unit.multiply_pj(8, 8).value == pytest.approx(per_unit_pj, rel=0.001)
    assert 4 * unit.multiply_pj(4, 4).value == pytest.approx(per_unit_pj, rel=0.001)
    assert 16 * unit.multiply_pj(2, 2).value == pytest.approx(per_unit_pj, rel=0.001)
    leakage_w = leakage_nw * 1e-9 / 16 * unit.cells
    assert machine.static_power_w.value == pytest.approx(leakage_w, rel=0.002)


def test_bitfusion_composes_every_pair_of_2_4_and_8_bits():
    (unit,) = load_hardware("bitfusion").matrix
    rates = {(width.a_bits, width.w_bits): width.rate for width in native_widths(unit)}
    assert rates == {(a, w): 64 / (a * w) for a in (2, 4, 8) for w in (2, 4, 8)}


def test_eyeriss_has_the_published_ratios_of_energies():
    # Chen et al., ISCA 2016, table IV, per 16-bit word: register file 1, buffer 6, DRAM 200 MACs.
    machine = load_hardware("eyeriss-v1")
    (unit,) = machine.matrix
    mac_pj = unit.multiply_pj(16, 16).value
    assert unit.register_pj_per_bit is not None
    moved_bits = 16 + 16 + unit.accumulator_bits
    assert unit.register_pj_per_bit.value * moved_bits == pytest.approx(4 * mac_pj, rel=0.001)
    for level, ratio in ((machine.on_chip[0], 6), (machine.dram, 200)):
        assert 2 * level.read_pj_per_byte.value == pytest.approx(ratio * mac_pj, rel=0.005)
        assert 2 * level.write_pj_per_byte.value == pytest.approx(ratio * mac_pj, rel=0.005)
    assert machine.zero_gating


@pytest.mark.parametrize(
    "name", ["gemmini-default", "ethos-u65", "ethos-u85-256", "ethos-u85-2048", "tpu-v1"]
)
def test_arithmetic_between_nodes_lies_on_the_stated_power_law(name):
    machine = load_hardware(name)
    energy = machine.matrix[0].multiply_pj(8, 8)
    share = (machine.node_nm / 45) ** 0.6841
    assert (7 / 45) ** 0.6841 * SOURCED_MAC_PJ[45] == pytest.approx(SOURCED_MAC_PJ[7], rel=0.001)
    assert energy.value == pytest.approx(SOURCED_MAC_PJ[45] * share, rel=0.003)
    assert energy.assumed
    edge = load_hardware("edge-npu-16x16").vector
    for kind, at_45 in edge.energy_by_kind_pj.items():
        assert machine.vector.energy_pj(kind).value == pytest.approx(at_45.value * share, rel=0.01), kind


def test_hq_npu_differs_from_the_edge_npu_in_multipliers_and_transform_unit_alone():
    ours, edge = load_hardware("hq-npu-w4a9"), load_hardware("edge-npu-16x16")
    assert ours.matrix[0].geometry == edge.matrix[0].geometry
    for part in ("node_nm", "clock_hz", "vector", "on_chip", "dram", "requantize_per_cycle", "launch_s"):
        assert getattr(ours, part) == getattr(edge, part), part
    assert ours.matrix[0].add == edge.matrix[0].add
    assert ours.matrix[0].multiply_pj(9, 4).value == pytest.approx(0.2 * 9 * 4 / (8 * 8))
    assert ours.hadamard is not None
    assert ours.hadamard.parity
    assert ours.hadamard.orders == frozenset(range(1, 7))
    assert all(ours.hadamard.block_cycles(order) == 2**order / 16 for order in range(1, 7))


@pytest.mark.parametrize(
    ("name", "a_bits", "w_bits", "passes", "rate"),
    [
        ("hq-npu-w4a9", 9, 4, 1, 1),
        ("hq-npu-w4a9", 8, 8, 2, 1),
        ("edge-npu-16x16", 9, 4, 2, 1),
        ("h200", 4, 4, 1, 1),  # no int4: the 8-bit multipliers do it
        ("h200", 9, 4, 2, 1),
        ("a100", 4, 4, 1, 2),
        ("a100", 9, 4, 2, 1),  # slices of its widest pair
        ("a100", 9, 8, 2, 1),
        ("ethos-u65", 9, 4, 1, 0.5),
        ("tpu-v1", 9, 4, 1, 0.5),
        ("eyeriss-v1", 9, 4, 1, 1),
        ("bitfusion", 9, 4, 2, 2),
    ],
)
def test_widths_of_the_single_hadamard_on_every_kind_of_multiplier(name, a_bits, w_bits, passes, rate):
    mode = multiplier_mode(load_hardware(name).matrix[0], a_bits=a_bits, w_bits=w_bits, layer="conv")
    assert (mode.passes, mode.rate) == (passes, pytest.approx(rate))


def test_host_cpu_is_no_faster_than_its_instructions():
    (unit,) = load_hardware("host-cpu").matrix
    int8, int16 = native_widths(unit)
    # Two cores, two instructions per cycle; vpdpbusd 16 x 4 products, vpdpwssd 16 x 2; rates are measured.
    assert unit.cells * int8.rate <= 2 * 2 * 64
    assert unit.cells * int16.rate <= 2 * 2 * 32
    assert int16.rate < int8.rate


@pytest.mark.parametrize("recipe", ["ptq-w8a8", "hqdm-w4a4"])
@pytest.mark.parametrize("model", ["digits", "ldm4-imagenet"])
@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_machine_runs_real_models(name, model, recipe):
    machine = load_hardware(name)
    layers = records(model, recipe)
    total = estimate_records(layers, machine, steps=20).total
    macs = sum(layer.macs for layer in layers)
    assert total["macs"] == macs
    fastest = max(unit.cells * width.rate for unit in machine.matrix for width in native_widths(unit))
    assert total["cycles"] >= macs / fastest
    parts = total["energy_pj"]
    assert all(pj >= 0 for pj in parts.values())
    assert parts["total"] == pytest.approx(sum(pj for part, pj in parts.items() if part != "total"))
    assert 0 <= total["assumed_energy_share"] <= 1
