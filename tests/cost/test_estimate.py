"""Whole layers against hand calculation on the toy machine of builders.py."""

import json
import pickle

import pytest

from hqsim.cost import estimate_records
from hqsim.errors import InputError, UnsupportedError
from tests.cost.builders import (
    elementwise,
    linear,
    matrix_unit,
    memory,
    systolic,
    toy_hardware,
    transform_unit,
    with_variants,
)

# The linear layer [3, 4] x [4, 4], W4A4 with order 2 (6-bit operands), weight stationary on 2 x 2 cells:
# 4 folds of 3 + 4 + 2 - 2 = 7 cycles; 24 reads of 6-bit operands, 16 of 4-bit weights, 24 partial sums of
# 4 bytes written and read; 3 blocks of 2 * 4 additions in a cycle each;
# 12 outputs of 16 bits; 10 bytes of tables.
SRAM_READS = 24 * 6 / 8 + 16 / 2 + 24 * 4 + 10 + 6 + 24  # operands, weights, sums, tables, staged, to DRAM
SRAM_WRITES = 24 * 4 + 24 + 12 * 6 / 8 + (6 + 8 + 10)  # sums, outputs, staged, from DRAM


def only(estimate):
    return estimate.layers.iloc[0]


def test_one_layer_by_hand():
    row = only(estimate_records([linear()], toy_hardware()))
    assert (row.macs, row.matrix_cycles, row.hadamard_cycles, row.vector_cycles) == (48, 28, 3, 18)
    assert (row.sram_bytes, row.dram_bytes, row.weight_bytes) == (SRAM_READS + SRAM_WRITES, 48, 8)
    assert (SRAM_READS, SRAM_WRITES) == (162, 153)
    assert (row.sram_cycles, row.dram_cycles) == (40, 12)
    # The first 2 x 2 weights of 4 bits are 2 bytes: one cycle of DRAM that nothing hides.
    assert (row.fill_cycles, row.cycles, row.bound_by) == (1, 41, "sram")
    assert row.latency_s == pytest.approx(41e-9)
    assert row.utilization == 48 / (41 * 4)
    assert (row.storage_bits_a, row.multiplier_bits_a, row.accumulator_bits) == (4, 6, 20)


def test_energy_of_one_layer_by_hand():
    row = only(estimate_records([linear()], toy_hardware()))
    # Multiply 1.0, add 0.5, and 8 + 32 register bits of 0.01 pJ: WS moves the activation and the sum.
    assert row.energy_multiply_pj == pytest.approx(48 * 1.9)
    # 24 additions on 4 + 2 bits, 0.1 pJ at 8 bits.
    assert row.energy_hadamard_pj == pytest.approx(24 * 0.1 * 6 / 8)
    assert row.energy_vector_pj == pytest.approx(24)
    assert row.energy_sram_pj == pytest.approx(162 * 1 + 153 * 2)
    assert row.energy_dram_pj == pytest.approx(24 * 10 + 24 * 20)
    assert row.energy_static_pj == pytest.approx(41)
    assert row.energy_pj == pytest.approx(91.2 + 1.8 + 24 + 468 + 720 + 41)


def test_only_static_power_is_assumed_on_the_toy_machine():
    total = estimate_records([linear()], toy_hardware()).total
    assert total["assumed_energy_share"] == pytest.approx(41 / 1346)


def test_without_a_transform_the_array_reads_storage_bits():
    row = only(estimate_records([linear(order=0)], toy_hardware()))
    staged = 6 + 12 * 6 / 8
    assert row.sram_bytes == SRAM_READS + SRAM_WRITES - staged - 24 * 2 / 8
    assert row.hadamard_cycles == 0
    assert row.energy_hadamard_pj == 0


def test_nine_bit_operands_pass_twice_over_int8_multipliers():
    row = only(estimate_records([linear(k=32, order=5)], toy_hardware()))
    assert row.multiplier_passes == 2
    assert row.matrix_cycles == 2 * (16 * 2) * 7
    assert row.energy_multiply_pj == pytest.approx(2 * 3 * 4 * 32 * 1.9)


def test_a_dense_unit_multiplies_with_the_whole_matrix():
    dense = transform_unit(kind="dense", stages=1)
    row = only(estimate_records([linear()], toy_hardware(hadamard=dense)))
    assert row.hadamard_cycles == 3 * 16 / 4
    assert row.energy_hadamard_pj == pytest.approx(48 * 0.1 * 6 / 8)


@pytest.mark.parametrize("unit", [None, transform_unit(orders=(1, 2, 3, 4))])
def test_an_order_without_a_transform_unit_is_work_of_the_vector_unit(unit):
    row = only(estimate_records([linear(k=32, order=5)], toy_hardware(hadamard=unit)))
    # 3 blocks of 5 * 32 additions, 2 pJ each, and 12 requantizations of 3 cycles, on 2 lanes.
    assert (row.hadamard_cycles, row.vector_cycles) == (0, 240 + 18)
    assert row.energy_hadamard_pj == pytest.approx(480 * 2)
    fast = toy_hardware(
        hadamard=unit,
        on_chip=(memory("sram", 1000, 1e6),),
        dram=memory("dram", None, 1e6),
        matrix=(matrix_unit(systolic(32, 32)),),
    )
    bound = only(estimate_records([linear(k=32, order=5)], fast))
    assert (bound.bound_by, bound.cycles) == ("vector", 240 + 18 + 1)


def test_a_memory_without_double_buffering_adds_its_transfer():
    hardware = toy_hardware(dram=memory("dram", None, 4, double_buffered=False))
    row = only(estimate_records([linear()], hardware))
    assert (row.fill_cycles, row.cycles) == (0, 40 + 12)


def test_element_wise_layers_read_and_write_once_and_norms_read_twice():
    add = only(estimate_records([elementwise("add", ("x", "y"))], toy_hardware()))
    # 80 bytes in, 40 out at level 0; the same again to and from DRAM.
    assert (add.sram_bytes, add.dram_bytes, add.vector_cycles) == (240, 120, 20)
    assert (add.bound_by, add.cycles) == ("sram", 30)
    norm = only(estimate_records([elementwise("norm", ("x",), kind="norm")], toy_hardware()))
    assert (norm.sram_bytes, norm.dram_bytes) == (2 * 40 + 40 + 40 + 40, 80)


def test_every_level_of_a_deeper_machine_carries_the_operands():
    deep = toy_hardware(on_chip=(memory("buffer", 1000, 8), memory("sram", 1000, 8)))
    row = only(estimate_records([linear()], deep))
    # The buffer as before; the SRAM is written by DRAM and read by the buffer, 24 bytes either way.
    assert row.sram_bytes == SRAM_READS + SRAM_WRITES + 4 * 24
    assert row.dram_bytes == 48


def test_a_small_memory_reloads_operands():
    # 50 bytes per tile: 4 rows of 2 bytes... a weight stripe holds (50 - 3) // (2 + 4) = 7 of 16 columns.
    record = linear(m=8, n=16, k=4)
    small = toy_hardware(on_chip=(memory("sram", 100, 8),))
    row = only(estimate_records([record], small))
    assert row.dram_bytes == 3 * 16 + 32 + 10 + 256


def test_steps_fetch_resident_weights_once():
    records = [linear("a"), linear("b", source="a.out", a_bits=16)]
    estimate = estimate_records(records, toy_hardware(), steps=20)
    step, run = estimate.total, estimate.total["run"]
    assert step["weights_resident"]
    assert step["weight_bytes"] == 16
    assert run["dram_bytes"] == 20 * step["dram_bytes"] - 19 * 16
    assert run["macs"] == 20 * 96
    assert run["cycles"] == step["cycles"] + 19 * step["warm_step"]["cycles"]
    assert run["latency_s"] == pytest.approx(run["cycles"] * 1e-9)
    assert step["table_bytes_all_steps"] == 400
    small = toy_hardware(on_chip=(memory("sram", 60, 8, double_buffered=False),))
    again = estimate_records(records, small, steps=20).total
    assert not again["weights_resident"]
    assert again["run"]["dram_bytes"] == 20 * again["dram_bytes"]


def test_totals_are_sums_of_the_layers():
    records = [linear("a"), elementwise("n", ("a.out",), elements=12, bits=16, kind="norm")]
    estimate = estimate_records(records, toy_hardware())
    layers, total = estimate.layers, estimate.total
    for column in ("cycles", "macs", "dram_bytes", "sram_bytes"):
        assert total[column] == layers[column].sum()
    for part in ("multiply", "hadamard", "vector", "sram", "dram", "static"):
        assert total["energy_pj"][part] == pytest.approx(layers[f"energy_{part}_pj"].sum())
    assert total["energy_pj"]["total"] == pytest.approx(layers["energy_pj"].sum())
    assert total["bound_by"] == "sram"
    assert total["peak_live_bytes"] == 48


def test_a_narrow_accumulator_is_reported():
    hardware = toy_hardware(matrix=(matrix_unit(accumulator_bits=16),))
    estimate = estimate_records([linear()], hardware)
    assert not only(estimate).accumulator_fits
    assert estimate.total["layers_over_accumulator"] == 1


def test_json_holds_hardware_layers_and_total():
    records = [linear(), elementwise("n", ("fc.out",), elements=12, bits=16)]
    document = json.loads(json.dumps(estimate_records(records, toy_hardware()).to_json()))
    assert set(document) == {"hardware", "layers", "total"}
    assert document["hardware"]["name"] == "toy"
    assert document["hardware"]["vector"]["cycles_by_kind"] == {"requantize": 3.0}
    assert [layer["name"] for layer in document["layers"]] == ["fc", "n"]
    assert document["layers"][1]["storage_bits_a"] is None
    energy = document["layers"][0]["energy_pj"]
    assert energy.pop("total") == pytest.approx(sum(energy.values()))


def test_bad_requests_are_refused():
    with pytest.raises(InputError, match=r"^estimate: there are no layer records"):
        estimate_records([], toy_hardware())
    with pytest.raises(InputError, match=r"^estimate: steps must be at least 1, got 0"):
        estimate_records([linear()], toy_hardware(), steps=0)
    without = linear()._replace(weights=None)
    with pytest.raises(InputError, match=r"^layer 'fc' multiplies 1 input and has no weights"):
        estimate_records([without], toy_hardware())
    narrow = toy_hardware(matrix=(matrix_unit(other_widths="next_wider"),))
    with pytest.raises(UnsupportedError, match=r"^layer 'fc' needs a multiplier of 9 x 4 bits"):
        estimate_records([linear(k=32, order=5)], narrow)
    with pytest.raises(UnsupportedError, match=r"^layer 'fc' does not fit memory 'sram'"):
        estimate_records([linear()], toy_hardware(on_chip=(memory("sram", 4, 8),)))


def test_serial_engines_add_up():
    """28 matrix cycles, 3 of the transform and 18 of the vector unit; 40 of the SRAM stay beside them."""
    row = only(estimate_records([linear()], toy_hardware(serial=True)))
    assert row.cycles == 28 + 3 + 18 + 1


def test_an_operator_may_have_a_launch_of_its_own():
    hardware = toy_hardware(launch_s=2e-9, launch_s_by_operator={"linear": 7e-9})
    layers = [linear(), elementwise("add", ("fc.out",), elements=12)]
    assert [cost.launch_cycles for cost in estimate_records(layers, hardware).costs] == [7, 2]


def test_the_tiles_stand_in_one_column():
    layers = estimate_records([linear(), elementwise("add", ("fc.out",), elements=12)], toy_hardware()).layers
    assert list(layers["mapping"]) == ["array ws runtime; sram mnk 3 x 4 x 4", ""]


def test_a_realisation_brings_its_own_tables():
    record = with_variants(linear())
    hardware = toy_hardware(hadamard=transform_unit(parity=True))
    plain = estimate_records([record], hardware, realisation="runtime")
    parity = estimate_records([record], hardware, realisation="parity")
    # Two bytes more per step, 40 in all steps (builders.with_variants), read once in DRAM; four block sums of
    # 6 bits beside them.
    assert parity.total["dram_bytes"] == plain.total["dram_bytes"] + 2 + 3
    assert parity.total["weight_bytes"] == plain.total["weight_bytes"] + 3
    assert parity.total["table_bytes_all_steps"] == plain.total["table_bytes_all_steps"] + 40


def test_a_parity_term_is_matrix_work_of_its_own():
    """[3, 4] x [4, 4] with 5-bit operands, then [3, 1] x [1, 4]: 12 products beside the 48 of the model."""
    record = with_variants(linear())
    estimate = estimate_records(
        [record], toy_hardware(hadamard=transform_unit(parity=True)), realisation="parity"
    )
    (cost,) = estimate.costs
    assert (cost.macs, cost.parity_macs) == (48, 12)
    assert (estimate.total["macs"], estimate.total["parity_macs"]) == (48, 12)
    # Folds of 3 + 4 + 2 - 2 cycles: 2 x 2 of the product, 1 x 2 of the term.
    assert cost.matrix_cycles == (4 + 2) * 7
    # Multiplier, adder, and registers of 8 + 32 bits.
    assert cost.energy["multiply"].pj == pytest.approx((48 + 12) * (1 + 0.5 + 0.4))


def test_records_and_machines_travel_between_processes():
    record, hardware = with_variants(linear()), toy_hardware()
    assert pickle.loads(pickle.dumps(record)) == record
    assert pickle.loads(pickle.dumps(hardware)) == hardware
