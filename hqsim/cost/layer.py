"""The cost of one layer: one row of an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hqsim.cost.candidates import Candidate
from hqsim.cost.energy import Energy, layer_energy
from hqsim.cost.machine import Hardware
from hqsim.cost.mapping import LayerMapping
from hqsim.cost.memory import Traffic
from hqsim.cost.schedule import EngineCycles, layer_time
from hqsim.graph.record import LayerRecord


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """Cycles, bytes and energy of one record; widths, ``unit`` and ``folds`` are None without a product.

    ``start_cycle`` counts from the start of the step. ``dataflow`` is that of a systolic array, or the
    schedule of another unit. ``mapping``, given back, gives the same cost again. ``utilization`` is MACs
    over the peak of ``unit`` at the widths used, in all cycles of the layer. ``parity_macs`` come on top of
    ``macs``, which are those of the model as published. ``accumulator_fits`` is False
    where the proved accumulator width exceeds the unit's. ``level_cycles`` and ``level_bytes`` are by
    memory.
    """

    name: str
    op: str
    module: str
    start_cycle: int
    macs: int
    parity_macs: int
    unit: str | None
    dataflow: str | None
    mapping: LayerMapping
    realisation: str | None
    folds: int | None
    multiplier_passes: int | None
    matrix_cycles: int
    hadamard_cycles: int
    vector_cycles: int
    requantize_cycles: int
    sram_cycles: int
    dram_cycles: int
    fill_cycles: int
    launch_cycles: int
    level_cycles: Mapping[str, int]
    cycles: int
    latency_s: float
    utilization: float
    energy: Mapping[str, Energy]
    dram_bytes: float
    sram_bytes: float
    level_bytes: Mapping[str, float]
    weight_bytes: float
    storage_bits_a: int | None
    storage_bits_w: int | None
    multiplier_bits_a: int | None
    multiplier_bits_w: int | None
    accumulator_bits: int | None
    accumulator_fits: bool
    bound_by: str

    @property
    def energy_pj(self) -> float:
        """The layer's whole energy."""
        return sum(part.pj for part in self.energy.values())

    def as_cost_of(self, record: LayerRecord, *, start_cycle: int) -> LayerCost:
        """Return the cost of another layer of the same shape."""
        # A thousand layers share few shapes: this is twenty times as fast as setting every field again.
        other = object.__new__(LayerCost)
        values = self.__dict__.copy()
        values["name"], values["op"], values["module"] = record.name, record.op, record.module
        values["start_cycle"] = start_cycle
        object.__setattr__(other, "__dict__", values)
        return other


def layer_cost(
    candidate: Candidate,
    hardware: Hardware,
    *,
    engines: EngineCycles,
    traffic: Traffic,
    zero_fraction: float = 0.0,
    toggles: tuple[float, ...] = (),
) -> LayerCost:
    """Return the cost of a layer as the candidate runs it, with the given traffic."""
    record, run = candidate.record, candidate.run
    time = layer_time(record.op, engines, hardware, traffic)
    latency_s = time.cycles / hardware.clock_hz
    on_chip = len(hardware.on_chip)
    work = record.matrix
    peak_macs = time.cycles * run.unit.cells * run.mode.rate if run else 0.0
    level_bytes = traffic.level_bytes
    names = hardware.level_names
    return LayerCost(
        name=record.name,
        op=record.op,
        module=record.module,
        start_cycle=0,
        macs=record.macs,
        parity_macs=record.parity_macs,
        unit=run.unit.name if run else None,
        dataflow=run.run.label if run else None,
        mapping=LayerMapping(
            unit=run.unit.name if run else None,
            dataflow=run.dataflow if run else None,
            realisation=record.realisation,
            tiles=traffic.tiles,
        ),
        realisation=record.realisation,
        folds=run.run.folds if run else None,
        multiplier_passes=run.mode.passes if run else None,
        matrix_cycles=engines.matrix,
        hadamard_cycles=engines.hadamard,
        vector_cycles=engines.vector,
        requantize_cycles=engines.requantize,
        sram_cycles=max(time.level_cycles[:on_chip]),
        dram_cycles=time.level_cycles[on_chip],
        fill_cycles=time.fill_cycles,
        launch_cycles=time.launch_cycles,
        level_cycles=dict(zip(names, time.level_cycles, strict=True)),
        cycles=time.cycles,
        latency_s=latency_s,
        utilization=record.macs / peak_macs if peak_macs else 0.0,
        energy=layer_energy(
            record,
            hardware,
            runs=candidate.runs,
            traffic=traffic,
            latency_s=latency_s,
            zero_fraction=zero_fraction,
            toggles=toggles,
        ),
        dram_bytes=level_bytes[on_chip],
        sram_bytes=sum(level_bytes[:on_chip]),
        level_bytes=dict(zip(names, level_bytes, strict=True)),
        weight_bytes=record.weight_bytes,
        storage_bits_a=work.a_storage_bits if work else None,
        storage_bits_w=work.w_storage_bits if work else None,
        multiplier_bits_a=work.a_multiplier_bits if work else None,
        multiplier_bits_w=work.w_multiplier_bits if work else None,
        accumulator_bits=work.accumulator_bits if work else None,
        accumulator_fits=work is None or run is None or work.accumulator_bits <= run.unit.accumulator_bits,
        bound_by=time.bound_by,
    )
