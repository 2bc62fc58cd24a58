"""What the cost model chooses for a layer: unit, realisation; and the engines that a machine may have."""

import dataclasses

import pytest

from hqsim.cost import estimate_records
from hqsim.cost.mapping import LayerMapping, MappingRule, MappingRules
from hqsim.errors import InputError, UnsupportedError
from hqsim.graph.record import ParityTerm
from tests.cost.builders import (
    elementwise,
    linear,
    matrix_unit,
    memory,
    native,
    quantity,
    systolic,
    toy_hardware,
    transform_unit,
    with_variants,
)


def unbound(**changes):
    """A machine whose memories never bind."""
    fast = {"on_chip": (memory("sram", 10**6, 1e9),), "dram": memory("dram", None, 1e9)}
    return toy_hardware(**{**fast, **changes})


def rules(match, **fixed):
    rule = MappingRule(match=match, mapping=LayerMapping(**fixed))
    return MappingRules(source="test", rules=(rule,))


def run(record, hardware, **options):
    return estimate_records([record], hardware, **options).costs[0]


# [8, 32] x [32, 4] at W4A4 with order 5: 9-bit operands at run time, 9-bit weights folded, 8-bit by parity.
WIDE = with_variants(linear(m=8, k=32, order=5))
FOLDS = 16 * 2  # of 32 x 4 weights on 2 x 2 cells
PASS = FOLDS * (8 + 4 + 2 - 2)
# [8, 1] x [1, 4] with block sums of 9 bits, two passes on 8 x 8 bits.
TERM = 2 * 2 * (8 + 4 + 2 - 2)


def test_parity_spares_a_pass_where_the_unit_has_it():
    unit = transform_unit(orders=(5,), stages=5, parity=True, lanes=1000)
    cost = run(WIDE, unbound(hadamard=unit))
    assert (cost.realisation, cost.matrix_cycles, cost.multiplier_bits_a) == ("parity", PASS + TERM, 8)
    assert (cost.macs, cost.parity_macs) == (8 * 32 * 4, 8 * 4)
    assert cost.vector_cycles == 32 * 3 / 2
    without = run(WIDE, unbound(hadamard=dataclasses.replace(unit, parity=False)))
    assert (without.multiplier_passes, without.matrix_cycles) == (2, 2 * PASS)


def test_a_parity_term_with_the_layers_weights_is_more_rows_of_its_product():
    def along_the_width(record):
        variant = record.variants["parity"]
        term = dataclasses.replace(variant.matrix, m=2, a_storage_bits=1, a_multiplier_bits=1)
        variant = dataclasses.replace(variant, parity=ParityTerm(matrix=term, block_sums=False))
        return record._replace(variants={"parity": variant})

    record = along_the_width(with_variants(linear()))
    # [3, 4] x [4, 4]: 4 folds of 3 + 4 + 2 - 2 cycles; two rows more in each fold, no weights loaded again.
    cost = run(record, unbound(hadamard=None), realisation="parity")
    assert (cost.matrix_cycles, cost.parity_macs) == (4 * (7 + 2), 2 * 4 * 4)
    # A depth of 16 takes 16 folds. The term alone, of 4 bits at four times the rate, takes 4 folds of 2 + 4.
    fast = matrix_unit(native=native((8, 8), (4, 4, 4.0)))
    deep = along_the_width(with_variants(linear(k=16)))
    cost = run(deep, unbound(matrix=(fast,), hadamard=None), realisation="parity")
    assert cost.matrix_cycles == 16 * 7 + 4 * 6


def test_the_vector_unit_gives_parity():
    cost = run(WIDE, unbound(hadamard=None), realisation="parity")
    assert cost.realisation == "parity"
    # 8 blocks of 5 * 32 additions beside requantization, on 2 lanes.
    assert cost.vector_cycles == (8 * 5 * 32 + 32 * 3) / 2


def test_folding_wins_where_the_multipliers_take_the_folded_weight():
    unit = matrix_unit(native=native((8, 8), (4, 9)))
    cost = run(WIDE, unbound(matrix=(unit,)))
    assert (cost.realisation, cost.hadamard_cycles, cost.energy["hadamard"].pj) == ("fold", 0, 0)
    assert cost.multiplier_bits_w == 9
    assert cost.weight_bytes == 128 * 9 / 8


def test_equal_cycles_are_decided_by_energy():
    # Both take one pass on 16-bit multipliers; folding saves the transform's energy.
    unit = matrix_unit(native=native((16, 16)))
    cost = run(WIDE, unbound(matrix=(unit,), hadamard=transform_unit(orders=(5,), lanes=10**6)))
    assert cost.realisation == "fold"


def test_a_realisation_can_be_told():
    hardware = unbound()
    assert run(WIDE, hardware, realisation="runtime").realisation == "runtime"
    assert run(WIDE, hardware, realisation="as_lowered").realisation == "runtime"
    assert run(WIDE, hardware, realisation="fold").realisation == "fold"
    plain = linear(order=2)
    assert run(plain, hardware, realisation="fold").realisation == "runtime"
    assert run(linear(order=0), hardware, realisation="fold").realisation is None
    fixed = rules("fc", realisation="fold")
    assert run(WIDE, hardware, mapping=fixed, realisation="runtime").realisation == "fold"


def test_impossible_wishes_are_refused():
    with pytest.raises(
        UnsupportedError, match=r"^layer 'fc' cannot run by parity: the transform unit of 'toy'"
    ):
        run(WIDE, unbound(hadamard=transform_unit(orders=(5,))), realisation="parity")
    with pytest.raises(InputError, match=r"^unknown realisation 'folded'; did you mean 'fold'\?"):
        run(WIDE, unbound(), realisation="folded")
    with pytest.raises(InputError, match=r"^layer 'fc' has no realisation 'fold', .* allowed: runtime\.$"):
        run(linear(order=2), unbound(), mapping=rules("fc", realisation="fold"))
    with pytest.raises(
        InputError, match=r"asks for matrix unit 'mxu', which 'toy' does not have .* array\.$"
    ):
        run(WIDE, unbound(), mapping=rules("*", unit="mxu"))
    with pytest.raises(InputError, match=r"no layer matches 'conv\*'"):
        run(WIDE, unbound(), mapping=rules("conv*", unit="array"))


def test_a_layer_takes_the_faster_of_two_units():
    small = matrix_unit(name="small")
    large = matrix_unit(systolic(8, 8), name="large")
    cost = run(linear(order=0), unbound(matrix=(small, large)))
    # Small: 4 folds of 7 cycles; large: one of 3 + 16 + 8 - 2.
    assert (cost.unit, cost.matrix_cycles, cost.folds) == ("large", 25, 1)
    assert cost.utilization == 48 / (cost.cycles * 64)
    assert (
        run(linear(order=0), unbound(matrix=(small, large)), mapping=rules("fc", unit="small")).unit
        == "small"
    )


def test_a_unit_runs_only_its_operators():
    products = matrix_unit(systolic(8, 8), name="products", operators=frozenset({"matmul"}))
    layers = matrix_unit(name="layers", operators=frozenset({"linear", "conv2d"}))
    assert run(linear(order=0), unbound(matrix=(products, layers))).unit == "layers"
    with pytest.raises(
        UnsupportedError, match=r"^layer 'fc': no matrix unit of 'toy' runs operator 'linear'"
    ):
        run(linear(order=0), unbound(matrix=(products,)))


def test_widths_that_no_unit_covers_are_refused_with_every_reason():
    units = tuple(
        matrix_unit(name=name, native=native((bits, bits)), other_widths="unsupported")
        for name, bits in (("narrow", 2), ("wide", 8))
    )
    with pytest.raises(UnsupportedError) as caught:
        run(linear(order=0), unbound(matrix=units))
    first, second = str(caught.value).splitlines()
    assert "layer 'fc'" in first
    assert "2 x 2" in first
    assert "8 x 8" in second


def test_a_dataflow_can_be_fixed():
    hardware = unbound(matrix=(matrix_unit(systolic(dataflow="best")),))
    record = linear(m=3, n=4, k=100, order=0)
    assert run(record, hardware).dataflow == "os"
    fixed = run(record, hardware, mapping=rules("fc", dataflow="ws"))
    assert (fixed.dataflow, fixed.mapping.dataflow) == ("ws", "ws")


def test_a_requantization_unit_takes_its_work_from_the_vector_unit():
    row = run(linear(), unbound(requantize_per_cycle=0.5))
    assert (row.requantize_cycles, row.vector_cycles) == (24, 0)
    slow = run(linear(), unbound(requantize_per_cycle=0.125))
    assert (slow.bound_by, slow.requantize_cycles) == ("requantize", 96)
    assert slow.energy["vector"].pj == run(linear(), unbound()).energy["vector"].pj


def test_every_layer_pays_its_launch():
    records = [linear("a"), elementwise("b", ("a.out",))]
    before = estimate_records(records, unbound()).costs
    after = estimate_records(records, unbound(launch_s=100.5e-9)).costs
    assert [cost.launch_cycles for cost in after] == [101, 101]
    assert [cost.cycles for cost in after] == [cost.cycles + 101 for cost in before]
    assert after[0].bound_by == "launch"


def test_zero_gating_spares_multiplier_and_adder():
    gated = unbound(zero_gating=True)
    zeros = {"fc": 0.25}
    # 48 MACs at 1.0 + 0.5 pJ, and 40 register bits of 0.01 pJ that move all the same.
    assert run(linear(), gated, zero_fractions=zeros).energy["multiply"].pj == pytest.approx(
        48 * (0.75 * 1.5 + 0.4)
    )
    assert run(linear(), unbound(), zero_fractions=zeros).energy["multiply"].pj == pytest.approx(48 * 1.9)
    # Zeros were counted in the lowered realisation: another one has other codes.
    folded = run(WIDE, gated, zero_fractions=zeros, realisation="fold").energy["multiply"].pj
    assert folded == run(WIDE, gated, realisation="fold").energy["multiply"].pj
    with pytest.raises(InputError, match=r"^zero_fractions: 'fc' has 1\.5, allowed 0 to 1"):
        run(linear(), gated, zero_fractions={"fc": 1.5})
    with pytest.raises(InputError, match=r"^unknown layer in zero_fractions 'fd'; did you mean 'fc'\?"):
        run(linear(), gated, zero_fractions={"fd": 0.5})


def test_toggles_count_beside_half_of_the_bits():
    """48 MACs of 8 bits at 1.0 + 0.5 + 0.4 pJ; a changing bit takes 0.1 pJ, four of eight are paid for."""
    unit = matrix_unit(toggle_pj=quantity(0.1, assumed=True))
    machine = unbound(matrix=(unit,))

    def pj(*shares, on=machine):
        return run(linear(), on, toggles={"fc": shares}).energy["multiply"].pj

    assert pj(*[0.5] * 8) == pytest.approx(48 * 1.9)
    assert pj(*[0.25] * 8) == pytest.approx(48 * (1.9 - 0.2))
    assert pj(*[1.0] * 8) == pytest.approx(48 * (1.9 + 0.4))
    # Narrower operands: the bits above repeat the highest.
    assert pj(0.5, 0.5, 0.0) == pytest.approx(48 * (1.9 - 0.3))
    assert pj(*[0.25] * 8, on=unbound()) == pytest.approx(48 * 1.9)
    known, unknown = (run(linear(), machine, toggles=seen) for seen in ({"fc": [0.25] * 8}, {}))
    assert known.energy["multiply"].assumed_pj == pytest.approx(48 * 0.8)
    assert unknown.energy["multiply"].assumed_pj == 0.0
    with pytest.raises(InputError, match=r"^toggles: 'fc' has \[2\.0\], allowed 0 to 1 for every bit"):
        run(linear(), machine, toggles={"fc": [2.0]})
    with pytest.raises(InputError, match=r"^unknown layer in toggles 'fd'; did you mean 'fc'\?"):
        run(linear(), machine, toggles={"fd": [0.5]})


def test_fused_widths_run_faster():
    unit = matrix_unit(native=native((8, 8), (4, 4, 4)))
    fast, slow = (run(linear(k=64, a_bits=bits, order=0), unbound(matrix=(unit,))) for bits in (4, 8))
    assert fast.matrix_cycles < slow.matrix_cycles
    assert fast.utilization <= 1


def test_layers_of_one_shape_differ_in_name_and_start_alone():
    records = [linear(name, source="x") for name in ("a", "b", "c")]
    costs = estimate_records(records, unbound(launch_s=1e-9)).costs
    assert [cost.name for cost in costs] == ["a", "b", "c"]
    assert [cost.start_cycle for cost in costs] == [0, costs[0].cycles, 2 * costs[0].cycles]
    one = estimate_records([records[2]], unbound(launch_s=1e-9)).costs[0]
    assert dataclasses.replace(costs[2], start_cycle=0).cycles == one.cycles


def test_folded_weights_take_their_place_in_memory():
    # 128 weights of 9 bits instead of 4 no longer stay on chip beside the activations.
    unit = matrix_unit(native=native((8, 8), (4, 9)))
    hardware = unbound(matrix=(unit,), on_chip=(memory("sram", 300, 1e9),))
    assert estimate_records([WIDE], hardware, realisation="runtime").residency.weights_resident
    folded = estimate_records([WIDE], hardware, realisation="fold")
    assert not folded.residency.weights_resident
    assert folded.residency.weight_bytes == 128 * 9 / 8


def test_the_chosen_mapping_gives_the_same_cost_again():
    cost = run(WIDE, toy_hardware())
    again = run(
        WIDE,
        toy_hardware(),
        mapping=MappingRules(source="x", rules=(MappingRule(match="fc", mapping=cost.mapping),)),
    )
    assert again == cost


def test_assumed_energy_of_a_multiply_point_is_told():
    unit = matrix_unit(
        multiply=(dataclasses.replace(matrix_unit().multiply[0], energy_pj=quantity(1.0, assumed=True)),)
    )
    energy = run(linear(), unbound(matrix=(unit,))).energy["multiply"]
    assert energy.assumed_pj == pytest.approx(48 * 1.0)
