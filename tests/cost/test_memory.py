"""The bytes of one layer in every memory, by hand."""

import dataclasses

import pytest

from hqsim.cost.candidates import realised
from hqsim.cost.machine import OPERAND_KINDS
from hqsim.cost.mapping import LevelTile
from hqsim.cost.matrix import matrix_run
from hqsim.cost.memory import layer_demand
from hqsim.cost.residency import LayerResidency
from hqsim.cost.tiling import search_tiles
from hqsim.errors import UnsupportedError
from hqsim.graph.record import ParityTerm, TensorUse
from tests.cost.builders import convolution, elementwise, linear, memory, toy_hardware, with_variants


def runs_of(record, hardware):
    works = [record.matrix, record.parity and record.parity.matrix]
    return [matrix_run(hardware.matrix[0], work, layer=record.name) for work in works if work]


def traffic_of(record, *on_chip, streams=False, **options):
    hardware = toy_hardware(on_chip=on_chip)
    residency = LayerResidency(
        input_from_dram=tuple([True] * len(record.inputs)),
        output_to_dram=True,
        streams=streams,
        live_bytes=0.0,
    )
    # Engines so slow that only bytes count.
    demand = layer_demand(
        record,
        hardware,
        runs=runs_of(record, hardware),
        residency=residency,
        engine_cycles=10**9,
        **options,
    )
    searches = [demand.tiled.search] if demand.tiled else []
    return demand.traffic(*search_tiles(searches, hardware) or [None])


def held(name, size_bytes, *kinds, double_buffered=False):
    return memory(name, size_bytes, 8, holds=frozenset(kinds), double_buffered=double_buffered)


# [3, 4] x [4, 4] at 4 bits: 6 bytes of x, 8 of weights, 10 of tables, 24 of outputs. The 2 x 2 cells hold
# weights: x is read 2 times (12 bytes), weights once, and 12 sums of 4 bytes written and read 2 times (96).
LINEAR = linear(order=0)


def test_one_memory():
    traffic = traffic_of(LINEAR, memory("sram", 1000, 8))
    assert traffic.kind_bytes == {
        "activations": (6 + 12 + 24 + 24, 6 + 24),
        "weights": (8 + 8, 8),
        "sums": (96 + 96, 0),
        "tables": (10 + 10, 10),
    }
    assert traffic.read_bytes == (12 + 8 + 96 + 10 + 24, 6 + 8 + 10)
    assert traffic.write_bytes == (6 + 8 + 10 + 96 + 24, 24)
    assert traffic.tiles == (LevelTile(level="sram", order="mnk", m=3, n=4, k=4),)


def test_a_parity_term_reads_bits_and_block_sums():
    """[3, 4] x [4, 4] with operands of 5 bits, then [3, 1] x [1, 4] of 1 x 6 bits, one bit per block of 4."""
    record = realised(with_variants(linear(order=2)), "parity")
    traffic = traffic_of(record, memory("sram", 1000, 8))
    # The inverse reads 12 codes of 4 bits, writes 12 of 5 and three bits; the cells read each value 2 times.
    transform, reads = 6 + (12 * 5 + 3) / 8, 2 * 12 * 5 / 8 + 2 * 3 / 8
    # Weights and block sums arrive and are read once; 12 sums of 4 bytes are written and read 2 + 1 times.
    assert traffic.kind_bytes == {
        "activations": (6 + transform + reads + 24 + 24, 6 + 24),
        "weights": (2 * (8 + 3), 8 + 3),
        "sums": (3 * 96, 0),
        "tables": (12 + 12, 12),
    }


def test_sums_all_start_from_a_parity_term_of_fewer_rows():
    """Two rows of the term for the three of the product: its sums are written for two, read for three."""
    record = realised(with_variants(linear(order=2)), "parity")
    term = dataclasses.replace(record.parity.matrix, m=2, k=4, w_storage_bits=4, w_multiplier_bits=4)
    record = record._replace(parity=ParityTerm(matrix=term, block_sums=False))
    traffic = traffic_of(record, memory("sram", 1000, 8))
    # Two folds of the rows: 8 sums written twice and read twice, the third row's 4 once more.
    assert traffic.kind_bytes["sums"] == (2 * 96 + 4 * (2 * 8 + 2 * 8 + 4), 0)
    assert traffic.kind_bytes["weights"] == (8 + 8 + 8, 8)


def test_memories_side_by_side_serve_their_own_kinds():
    traffic = traffic_of(
        LINEAR,
        held("acc", 100, "sums"),
        held("fifo", 100, "weights"),
        held("ub", 100, "activations", "tables"),
    )
    assert traffic.kind_bytes == {
        "activations": (0, 0, 6 + 12 + 24 + 24, 6 + 24),
        "weights": (0, 8 + 8, 0, 8),
        "sums": (96 + 96, 0, 0, 0),
        "tables": (0, 0, 10 + 10, 10),
    }
    assert {(tile.m, tile.n, tile.k) for tile in traffic.tiles} == {(3, 4, 4)}


def test_what_a_memory_does_not_hold_passes_it_by():
    outer = held("outer", 1000, *OPERAND_KINDS - {"weights"})
    traffic = traffic_of(LINEAR, memory("inner", 1000, 8), outer)
    assert traffic.kind_bytes["weights"] == (8 + 8, 0, 8)
    assert traffic.kind_bytes["activations"] == (6 + 12 + 24 + 24, 6 + 6 + 24 + 24, 6 + 24)


def test_partial_sums_that_leave_go_to_the_next_memory_that_holds_sums():
    fixed = (LevelTile(level="acc", order="kmn", k=2),)
    acc, rest = held("acc", 48, "sums"), held("sram", 1000, "activations", "weights", "tables")
    traffic = traffic_of(LINEAR, acc, rest, streams=True, tiles=fixed)
    # One tile of all 12 sums stays while both halves of k go by.
    assert traffic.kind_bytes["sums"] == (192, 0, 0)
    traffic = traffic_of(LINEAR, held("acc", 24, "sums"), rest, streams=True, tiles=fixed)
    # Room for 6 sums: order k, m, n visits each sum twice, so all 48 bytes leave once and come back.
    assert traffic.kind_bytes["sums"] == (192 + 48 + 48, 0, 48 + 48)


def test_weights_beyond_their_half_stream_past_the_activations():
    inner, outer = memory("inner", 10**6, 8), memory("outer", 16 + 2 * 8 * 4, 8, double_buffered=False)
    record = linear(m=2, n=32, k=8, order=0)._replace(table_bytes=0.0)
    # 128 bytes of weights beside 40 of 80: pieces of 8 columns (32 bytes). x crosses inwards once per piece.
    traffic = traffic_of(record, inner, outer)
    assert traffic.kind_bytes["weights"][2] == 128
    assert traffic.tiles[1] == LevelTile(level="outer", order=traffic.tiles[1].order, m=2, n=8, k=8)
    x = record.inputs[0].size_bytes
    outputs = record.output.size_bytes
    assert traffic.kind_bytes["activations"][2] == x + outputs
    assert traffic.kind_bytes["activations"][1] == x + 4 * x + 2 * outputs
    # Found on chip they are whole: no cut, no fetch.
    warm = traffic_of(record, inner, outer, weights_from_dram=False)
    assert warm.kind_bytes["weights"][2] == 0
    assert warm.kind_bytes["activations"][1] == x + x + 2 * outputs


def test_rows_between_convolution_tiles_cross_again():
    # 8 x 8 pixels of 8 bits, 3 x 3, one channel to one: x 64 bytes, weights 9, sums 4 bytes per pixel.
    record = convolution(channels=1, filters=1, size=8, bits=8)
    # Half the rows read 5 rows of 8: 40 + 9 + 32 * 4 bytes. The halves read 10 of the 8 rows together.
    traffic = traffic_of(record, memory("sram", 177, 8, double_buffered=False), streams=True)
    assert traffic.tiles == (LevelTile(level="sram", order=traffic.tiles[0].order, m=32, n=1, k=9),)
    assert traffic.read_bytes[1] == 80 + 9 + record.table_bytes
    whole = traffic_of(record, memory("sram", 64 + 9 + 256, 8, double_buffered=False), streams=True)
    assert whole.read_bytes[1] == 64 + 9 + record.table_bytes


def test_both_sides_of_a_split_input_are_the_first_operand():
    record = LINEAR._replace(
        inputs=(TensorUse(name="x", elements=6, bits=4), TensorUse(name="y", elements=6, bits=4))
    )
    assert traffic_of(record, memory("sram", 1000, 8)) == traffic_of(LINEAR, memory("sram", 1000, 8))


def test_the_home_of_activations_holds_the_transformed_operand():
    traffic = traffic_of(linear(order=2), memory("inner", 1000, 8), memory("outer", 1000, 8))
    # 12 codes of 4 bits are read once and written at 6 bits; the array reads those twice.
    assert traffic.kind_bytes["activations"][0] == 6 + (6 + 9) + 2 * 9 + 24 + 24
    assert traffic.kind_bytes["activations"][1] == 6 + 6 + 24 + 24


def test_activations_times_activations_need_no_memory_for_weights():
    record = LINEAR._replace(weights=None, inputs=(*LINEAR.inputs, TensorUse(name="y", elements=16, bits=4)))
    traffic = traffic_of(record, held("fifo", 1, "weights"), memory("sram", 1000, 8))
    assert traffic.kind_bytes["weights"] == (0, 0, 0)
    assert traffic.kind_bytes["activations"] == (0, 6 + 8 + 12 + 8 + 24 + 24, 6 + 8 + 24)


@pytest.mark.parametrize(("size", "times"), [(39, 2), (40, 1)])
def test_a_second_pass_reads_again_what_did_not_fit(size, times):
    record = elementwise("norm", ("x",), kind="norm")
    traffic = traffic_of(record, memory("sram", size, 8, double_buffered=False), streams=True)
    assert traffic.read_bytes == (80 + 40, 40 * times)


def test_first_tile():
    record = linear(order=0)
    (run,) = runs_of(record, toy_hardware())
    # Weight-stationary: 2 x 2 weights of 4 bits must be there before anything starts.
    assert (run.run.first_a_words, run.run.first_w_words) == (0, 4)
    # They cross every memory on their way; what is on chip already does not come from DRAM.
    levels = memory("inner", 1000, 8), memory("outer", 1000, 8)
    assert traffic_of(record, *levels).first_bytes == (0, 2, 2)
    assert traffic_of(record, *levels, weights_from_dram=False).first_bytes == (0, 2, 0)
    assert traffic_of(elementwise("add", ("x",)), *levels).first_bytes == (0, 0, 0)


def test_a_layer_that_fits_nowhere_is_named_with_the_place_of_the_size():
    tiny = memory("sram", 4, 8, place="npu.yaml:7:3: memory.on_chip[0].size_bytes: ")
    message = r"^npu.yaml:7:3: memory.on_chip\[0\].size_bytes: layer 'fc' does not fit memory 'sram'"
    with pytest.raises(UnsupportedError, match=message):
        traffic_of(LINEAR, tiny, streams=True)
