"""What must hold on every machine and every network.

Where the cost model chooses (unit, realisation, tiles), it takes the fewest cycles of what is allowed. So
more bandwidth and more memory are never slower as long as the choice leaves the weights' size alone: where a
folded weight displaces others from the chip, they may be. Bytes follow only where cycles are equal: more
bandwidth may move more of them.
"""

import dataclasses
from unittest.mock import patch

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from hqsim.cost import estimate_records
from hqsim.cost.energy import PARTS
from hqsim.cost.geometry import BitComposable, DotProduct, RowStationary, Systolic, TensorCore
from hqsim.cost.machine import OPERAND_KINDS, VectorUnit
from hqsim.cost.mapping import MappingRule, MappingRules
from hqsim.errors import UnsupportedError
from hqsim.graph.record import HadamardWork, LayerRecord, MatrixWork, TensorUse
from tests.cost.builders import (
    convolution,
    elementwise,
    linear,
    matrix_unit,
    memory,
    native,
    quantity,
    toy_hardware,
    transform_unit,
    with_variants,
)

sides = st.integers(1, 16)
systolic_arrays = st.builds(
    Systolic,
    rows=sides,
    cols=sides,
    arrays=st.integers(1, 3),
    dataflow=st.sampled_from(["os", "ws", "is", "best"]),
)
geometries = st.one_of(
    systolic_arrays,
    st.builds(
        RowStationary,
        rows=st.integers(3, 14),
        cols=sides,
        ifmap_words=st.integers(3, 16),
        filter_words=st.integers(3, 300),
        sum_words=sides,
    ),
    st.builds(BitComposable, rows=sides, cols=sides),
    st.builds(DotProduct, m=sides, n=sides, k=sides, units=st.integers(1, 4)),
    st.builds(
        TensorCore,
        units=sides,
        macs_per_cycle=st.integers(1, 512),
        tile_m=st.sampled_from([16, 64, 128]),
        tile_n=st.sampled_from([16, 128]),
        tile_k=st.sampled_from([8, 32]),
        macs_per_word=st.sampled_from([0.5, 40.0]),
    ),
)
widths = st.sampled_from(
    [native((8, 8)), native((4, 4, 2), (8, 8)), native((8, 4), (8, 8), (16, 8)), native((4, 9), (8, 8, 0.5))]
)


@st.composite
def matrix_units(draw, geometries=geometries):
    names = ["first", "second"][: draw(st.integers(1, 2))]
    return tuple(matrix_unit(draw(geometries), name=name, native=draw(widths)) for name in names)


@st.composite
def machines(draw, geometries=geometries):
    levels = draw(st.integers(1, 3))
    unit = transform_unit(
        kind=draw(st.sampled_from(["butterfly", "dense"])),
        lanes=draw(st.integers(1, 64)),
        stages=draw(st.integers(1, 5)),
        orders=draw(st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True)),
        parity=draw(st.booleans()),
    )
    return toy_hardware(
        matrix=draw(matrix_units(geometries)),
        hadamard=unit if draw(st.booleans()) else None,
        vector=VectorUnit(
            lanes=draw(st.integers(1, 32)),
            cycles_per_element=draw(st.sampled_from([0.5, 1, 3])),
            energy_per_element_pj=quantity(0.7),
        ),
        on_chip=tuple(
            memory(
                f"level{index}",
                draw(st.integers(128, 4000)),
                draw(st.sampled_from([0.5, 3, 16, 100])),
                double_buffered=draw(st.booleans()),
                holds=OPERAND_KINDS - draw(st.sampled_from([frozenset(), frozenset({"weights"})])),
            )
            for index in range(levels)
        ),
        dram=memory("dram", None, draw(st.sampled_from([0.25, 2, 30])), read_pj=10, write_pj=20),
        requantize_per_cycle=draw(st.sampled_from([None, 0.5, 16.0])),
        launch_s=draw(st.sampled_from([0.0, 2.5e-9])),
        zero_gating=draw(st.booleans()),
    )


def product(name, sources, sizes, *, bits):
    m, n, k, count = sizes
    return LayerRecord(
        name=name,
        op="matmul",
        module=name,
        inputs=(
            TensorUse(name=sources[0], elements=m * k * count, bits=bits),
            TensorUse(name=sources[1], elements=n * k * count, bits=bits),
        ),
        output=TensorUse(name=f"{name}.out", elements=m * n * count, bits=16),
        matrix=MatrixWork(
            m=m, n=n, k=k, count=count, a_storage_bits=bits, w_storage_bits=bits,
            a_multiplier_bits=bits, w_multiplier_bits=bits, accumulator_bits=24,
        ),
        vector={"requantize": m * n * count},
    )  # fmt: skip


@st.composite
def networks(draw):
    """A few layers that read earlier results or model inputs; skips of any length arise."""
    records: list[LayerRecord] = []
    names = {"x": None}
    for index in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["linear", "conv", "matmul", "norm", "add"]))
        pick = st.sampled_from(sorted(names))
        if kind == "linear":
            record = linear(
                f"l{index}",
                m=draw(st.integers(1, 40)),
                n=draw(st.integers(1, 40)),
                k=8 * draw(st.integers(1, 5)),
                a_bits=draw(st.integers(2, 8)),
                w_bits=draw(st.integers(2, 8)),
                order=draw(st.integers(0, 3)),
                source=draw(pick),
            )
            if record.hadamard and draw(st.booleans()):
                record = with_variants(record)
        elif kind == "conv":
            record = convolution(
                f"l{index}",
                channels=draw(st.integers(1, 8)),
                filters=draw(st.integers(1, 8)),
                size=draw(st.integers(3, 13)),
                kernel=draw(st.sampled_from([1, 3])),
                batch=draw(st.integers(1, 3)),
                bits=draw(st.integers(2, 8)),
                source=draw(pick),
            )
        elif kind == "matmul":
            sizes = tuple(draw(st.integers(1, 12)) for _ in range(4))
            record = product(f"l{index}", (draw(pick), draw(pick)), sizes, bits=draw(st.integers(4, 16)))
        else:
            sources = (draw(pick),) if kind == "norm" else (draw(pick), draw(pick))
            record = elementwise(f"l{index}", sources, elements=draw(st.integers(1, 900)), kind=kind)
        records.append(record)
        names[record.output.name] = None
    return records


def widen(record, extra):
    """The same layer with all its tensors and operands ``extra`` bits wider."""

    def wide(use):
        return use._replace(bits=use.bits + extra)

    work = record.matrix
    return record._replace(
        inputs=tuple(wide(use) for use in record.inputs),
        output=wide(record.output),
        weights=wide(record.weights) if record.weights else None,
        matrix=work and dataclasses.replace(
            work,
            a_storage_bits=work.a_storage_bits + extra,
            w_storage_bits=work.w_storage_bits + extra,
            a_multiplier_bits=work.a_multiplier_bits + extra,
            w_multiplier_bits=work.w_multiplier_bits + extra,
        ),
    )  # fmt: skip


def of_equal_weights(records):
    """The same layers without what changes the size of the weights: folding, and block sums of parity."""
    return [
        record._replace(
            variants={
                name: dataclasses.replace(v, parity=dataclasses.replace(v.parity, block_sums=False))
                for name, v in record.variants.items()
                if name == "parity"
            },
        )
        for record in records
    ]


def compulsory_dram_bytes(records, costs):
    """Weights as executed and tables once, every model input once, every result that nothing reads once."""
    produced = {record.output.name for record in records}
    read = {use.name for record in records for use in record.inputs}
    inputs = {}
    for record in records:
        for use in record.inputs:
            if use.name not in produced:
                inputs.setdefault(use.name, use.size_bytes)
    weights = sum(cost.weight_bytes for cost in costs)
    outputs = sum(record.output.size_bytes for record in records if record.output.name not in read)
    return weights + sum(record.table_bytes for record in records) + sum(inputs.values()) + outputs


@settings(max_examples=60, deadline=None)
@given(machines(), networks())
def test_cycles_cover_the_work_and_the_bytes(hardware, records):
    start = 0
    units = {unit.name: unit for unit in hardware.matrix}
    for cost in estimate_records(records, hardware).costs:
        assert cost.start_cycle == start
        start += cost.cycles
        assert (cost.unit is None) == (cost.macs == 0)
        if cost.unit is not None:
            # No unit multiplies faster than 16 pairs per cell and cycle (2 x 2 bits in one of 8 x 8).
            fastest = 16 if isinstance(units[cost.unit].geometry, BitComposable) else 2
            assert cost.cycles >= cost.macs / (units[cost.unit].cells * fastest)
        for level in hardware.levels:
            assert cost.level_cycles[level.name] >= cost.level_bytes[level.name] / level.bytes_per_cycle
        engines = (cost.matrix_cycles, cost.hadamard_cycles, cost.vector_cycles, cost.requantize_cycles)
        assert cost.cycles >= max(*engines, *cost.level_cycles.values()) + cost.launch_cycles
        assert min(*engines, *cost.level_cycles.values(), cost.fill_cycles) >= 0
        assert 0 <= cost.utilization <= 1 + 1e-12
        assert cost.dram_bytes == cost.level_bytes["dram"]


@settings(max_examples=60, deadline=None)
@given(machines(), networks(), st.integers(1, 5))
def test_layers_and_parts_sum_to_the_totals(hardware, records, steps):
    estimate = estimate_records(records, hardware, steps=steps)
    total, costs = estimate.total, estimate.costs
    assert total["cycles"] == sum(cost.cycles for cost in costs)
    assert total["macs"] == sum(record.macs for record in records)
    assert total["energy_pj"]["total"] == pytest.approx(sum(cost.energy_pj for cost in costs))
    assert total["energy_pj"]["total"] == pytest.approx(sum(total["energy_pj"][part] for part in PARTS))
    assert total["run"]["cycles"] <= steps * total["cycles"]
    assert total["run"]["dram_bytes"] >= total["dram_bytes"]
    assert 0 <= total["assumed_energy_share"] <= 1
    assert 0 <= total["utilization"] <= 1 + 1e-12


@settings(max_examples=60, deadline=None)
@given(machines(), networks())
def test_traffic_is_at_least_compulsory(hardware, records):
    estimate = estimate_records(records, hardware)
    assert estimate.total["dram_bytes"] >= compulsory_dram_bytes(records, estimate.costs) - 1e-6
    assert estimate.residency.peak_on_chip_bytes <= hardware.on_chip[-1].size_bytes


@settings(max_examples=60, deadline=None)
@given(machines(), networks(), st.sampled_from(["best", "as_lowered", "fold"]))
def test_layers_of_one_shape_cost_the_same_as_each_alone(hardware, records, policy):
    shared = estimate_records(records, hardware, realisation=policy)
    with patch("hqsim.cost.workload.shape_of", new=lambda record: record.name):
        alone = estimate_records(records, hardware, realisation=policy)
    assert shared.costs == alone.costs
    assert shared.warm_costs == alone.warm_costs


@settings(max_examples=100, deadline=None)
@given(machines(), networks(), st.sampled_from(["best", "as_lowered", "fold", "parity"]))
def test_a_mapping_given_back_gives_the_same_costs(hardware, records, policy):
    """Every layer's own unit, dataflow, realisation and tiles are accepted, and cost what they cost."""
    try:
        chosen = estimate_records(records, hardware, realisation=policy)
    except UnsupportedError:
        reject()
    rules = tuple(MappingRule(match=cost.name, mapping=cost.mapping) for cost in chosen.costs)
    again = estimate_records(records, hardware, mapping=MappingRules(source="chosen", rules=rules))
    assert again.costs == chosen.costs


@settings(max_examples=60, deadline=None)
@given(machines(), networks())
def test_the_choice_is_the_fastest_realisation(hardware, records):
    """Layer by layer, as long as no weights change their size: then all plans of the memory are the same."""
    records = of_equal_weights(records)
    best = estimate_records(records, hardware).costs
    lowered = estimate_records(records, hardware, realisation="as_lowered").costs
    for chosen, plain in zip(best, lowered, strict=True):
        assert (chosen.cycles, chosen.energy_pj) <= (plain.cycles, plain.energy_pj)


@settings(max_examples=60, deadline=None)
@given(machines(), networks(), st.integers(0, 3), st.sampled_from([1.0, 1.5, 7.0]))
def test_more_bandwidth_is_never_slower(hardware, records, which, factor):
    levels = [*hardware.on_chip, hardware.dram]
    index = which % len(levels)
    levels[index] = dataclasses.replace(levels[index], bytes_per_cycle=levels[index].bytes_per_cycle * factor)
    faster = dataclasses.replace(hardware, on_chip=tuple(levels[:-1]), dram=levels[-1])
    for policy, layers in (("as_lowered", records), ("fold", records), ("best", of_equal_weights(records))):
        before = estimate_records(layers, hardware, realisation=policy).costs
        after = estimate_records(layers, faster, realisation=policy).costs
        assert all(new.cycles <= old.cycles for old, new in zip(before, after, strict=True))


@settings(max_examples=60, deadline=None)
@given(machines(systolic_arrays), networks(), st.integers(0, 9), st.integers(0, 9), st.integers(0, 2))
def test_more_cells_never_more_folds(hardware, records, rows, cols, arrays):
    """For one dataflow: another one may trade folds for cycles."""
    unit = hardware.matrix[0]
    fixed = dataclasses.replace(unit.geometry, dataflow="os")
    larger = dataclasses.replace(
        fixed, rows=fixed.rows + rows, cols=fixed.cols + cols, arrays=fixed.arrays + arrays
    )
    before, after = (
        estimate_records(
            records,
            dataclasses.replace(hardware, matrix=(dataclasses.replace(unit, geometry=geometry),)),
            realisation="as_lowered",
        ).costs
        for geometry in (fixed, larger)
    )
    assert all((new.folds or 0) <= (old.folds or 0) for old, new in zip(before, after, strict=True))


@settings(max_examples=60, deadline=None)
@given(machines(), networks(), st.integers(0, 2), st.integers(0, 4000))
def test_a_larger_memory_is_never_slower(hardware, records, which, more):
    levels = list(hardware.on_chip)
    index = which % len(levels)
    levels[index] = dataclasses.replace(levels[index], size_bytes=levels[index].size_bytes + more)
    grown = dataclasses.replace(hardware, on_chip=tuple(levels))
    before, after = (
        estimate_records(records, machine, realisation="as_lowered").costs for machine in (hardware, grown)
    )
    assert all(new.cycles <= old.cycles for old, new in zip(before, after, strict=True))


@settings(max_examples=60, deadline=None)
@given(machines(systolic_arrays), networks(), st.integers(1, 8), st.booleans())
def test_wider_operands_are_never_cheaper(hardware, records, extra, slices):
    """Without faster narrow multipliers: these may win on paper and lose by rounding up small layers."""
    natives = native((8, 4), (8, 8), (16, 8)) if slices else native((8, 8))
    unit = dataclasses.replace(hardware.matrix[0], native=natives)
    hardware = dataclasses.replace(hardware, matrix=(unit,))
    narrow = estimate_records(records, hardware, realisation="as_lowered").costs
    wider = [widen(record, extra) for record in records]
    wide = estimate_records(wider, hardware, realisation="as_lowered").costs
    for old, new in zip(narrow, wide, strict=True):
        assert new.matrix_cycles >= old.matrix_cycles
        assert new.cycles >= old.cycles


@given(st.integers(0, 6), st.integers(1, 50))
def test_a_dense_transform_never_takes_fewer_additions(order, blocks):
    work = HadamardWork(kind="sylvester", axis="channel", order=order, blocks=blocks, direction="forward")
    assert work.butterfly_adds == blocks * sum(2**order for _ in range(order))
    assert work.dense_adds >= work.butterfly_adds
