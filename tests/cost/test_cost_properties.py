"""What must hold on every machine and every network."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hqsim.cost import estimate_records
from hqsim.cost.energy import PARTS
from hqsim.cost.machine import HadamardUnit, VectorUnit, WidthEnergy
from hqsim.graph.record import HadamardWork, LayerRecord, MatrixWork, TensorUse
from tests.cost.builders import elementwise, linear, matrix_unit, memory, quantity, toy_hardware


@st.composite
def machines(draw):
    levels = draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["butterfly", "dense", None]))
    unit = HadamardUnit(
        kind=kind or "", adds_per_cycle=draw(st.integers(1, 64)),
        add=WidthEnergy(energy_pj=quantity(0.1), bits=8),
    )  # fmt: skip
    native = [((8, 8),), ((4, 4), (8, 8)), ((8, 4), (8, 8), (16, 8))]
    return toy_hardware(
        matrix=matrix_unit(
            rows=draw(st.integers(1, 16)),
            cols=draw(st.integers(1, 16)),
            arrays=draw(st.integers(1, 3)),
            dataflow=draw(st.sampled_from(["os", "ws", "is", "best"])),
            native_bits=draw(st.sampled_from(native)),
        ),
        hadamard=unit if kind else None,
        vector=VectorUnit(
            lanes=draw(st.integers(1, 32)),
            cycles_per_element=draw(st.sampled_from([0.5, 1, 3])),
            energy_per_element_pj=quantity(0.7),
        ),
        on_chip=tuple(
            memory(
                f"level{index}",
                draw(st.integers(64, 4000)),
                draw(st.sampled_from([0.5, 3, 16, 100])),
                double_buffered=draw(st.booleans()),
            )
            for index in range(levels)
        ),
        dram=memory("dram", None, draw(st.sampled_from([0.25, 2, 30])), read_pj=10, write_pj=20),
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
        kind = draw(st.sampled_from(["linear", "matmul", "norm", "add"]))
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
        return dataclasses.replace(use, bits=use.bits + extra)

    work = record.matrix
    return dataclasses.replace(
        record,
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


def compulsory_dram_bytes(records):
    """Weights and tables once, every model input once, every result that nothing reads once."""
    produced = {record.output.name for record in records}
    read = {use.name for record in records for use in record.inputs}
    inputs = {}
    for record in records:
        for use in record.inputs:
            if use.name not in produced:
                inputs.setdefault(use.name, use.size_bytes)
    weights = sum(record.weights.size_bytes for record in records if record.weights)
    outputs = sum(record.output.size_bytes for record in records if record.output.name not in read)
    return weights + sum(record.table_bytes for record in records) + sum(inputs.values()) + outputs


@settings(max_examples=60, deadline=None)
@given(machines(), networks())
def test_cycles_cover_the_work_and_the_bytes(hardware, records):
    for cost in estimate_records(records, hardware).costs:
        assert cost.cycles >= cost.macs / hardware.matrix.cells
        assert cost.cycles >= cost.dram_bytes / hardware.dram.bytes_per_cycle
        fastest = max(level.bytes_per_cycle for level in hardware.on_chip)
        assert cost.cycles * len(hardware.on_chip) >= cost.sram_bytes / fastest - 1e-9
        engines = (cost.matrix_cycles, cost.hadamard_cycles, cost.vector_cycles, cost.sram_cycles)
        assert cost.cycles >= max(*engines, cost.dram_cycles)
        assert min(*engines, cost.dram_cycles, cost.fill_cycles) >= 0
        assert 0 <= cost.utilization <= 1


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


@settings(max_examples=60, deadline=None)
@given(machines(), networks())
def test_traffic_is_at_least_compulsory(hardware, records):
    estimate = estimate_records(records, hardware)
    assert estimate.total["dram_bytes"] >= compulsory_dram_bytes(records) - 1e-6
    assert estimate.residency.peak_on_chip_bytes <= hardware.on_chip[-1].size_bytes


@settings(max_examples=60, deadline=None)
@given(machines(), networks(), st.integers(0, 3), st.sampled_from([1.0, 1.5, 7.0]))
def test_more_bandwidth_is_never_slower(hardware, records, which, factor):
    levels = [*hardware.on_chip, hardware.dram]
    index = which % len(levels)
    levels[index] = dataclasses.replace(levels[index], bytes_per_cycle=levels[index].bytes_per_cycle * factor)
    faster = dataclasses.replace(hardware, on_chip=tuple(levels[:-1]), dram=levels[-1])
    before, after = estimate_records(records, hardware).costs, estimate_records(records, faster).costs
    assert all(new.cycles <= old.cycles for old, new in zip(before, after, strict=True))


@settings(max_examples=60, deadline=None)
@given(machines(), networks(), st.integers(0, 4000))
def test_a_larger_outer_memory_never_moves_more(hardware, records, more):
    outer = hardware.on_chip[-1]
    larger = dataclasses.replace(outer, size_bytes=outer.size_bytes + more)
    grown = dataclasses.replace(hardware, on_chip=(*hardware.on_chip[:-1], larger))
    before, after = estimate_records(records, hardware).costs, estimate_records(records, grown).costs
    assert all(new.dram_bytes <= old.dram_bytes + 1e-9 for old, new in zip(before, after, strict=True))


@settings(max_examples=60, deadline=None)
@given(machines(), networks(), st.integers(1, 8))
def test_wider_operands_are_never_cheaper(hardware, records, extra):
    narrow = estimate_records(records, hardware)
    wide = estimate_records([widen(record, extra) for record in records], hardware)
    for old, new in zip(narrow.costs, wide.costs, strict=True):
        assert new.cycles >= old.cycles
        assert new.dram_bytes >= old.dram_bytes - 1e-9
        assert new.sram_bytes >= old.sram_bytes - 1e-9
        assert new.energy_pj >= old.energy_pj * (1 - 1e-12)


@given(st.integers(0, 6), st.integers(1, 50))
def test_a_dense_transform_never_takes_fewer_additions(order, blocks):
    work = HadamardWork(kind="sylvester", axis="channel", order=order, blocks=blocks, direction="forward")
    assert work.butterfly_adds == blocks * sum(2**order for _ in range(order))
    assert work.dense_adds >= work.butterfly_adds
