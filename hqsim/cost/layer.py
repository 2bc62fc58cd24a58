"""The cost of one layer: one row of an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hqsim.cost.energy import Energy, layer_energy
from hqsim.cost.machine import Hardware
from hqsim.cost.memory import MatrixRun, first_tile_bytes, layer_traffic
from hqsim.cost.residency import LayerResidency
from hqsim.cost.schedule import layer_time
from hqsim.cost.systolic import systolic_run
from hqsim.cost.widths import multiplier_mode
from hqsim.graph.record import LayerRecord


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """Cycles, bytes and energy of one record; widths and ``dataflow`` are None without a product.

    ``utilization`` is MACs over all cells in all cycles of the layer. ``accumulator_fits`` is False
    where the proved accumulator width exceeds the machine's.
    """

    name: str
    op: str
    module: str
    macs: int
    dataflow: str | None
    multiplier_passes: int | None
    matrix_cycles: int
    hadamard_cycles: int
    vector_cycles: int
    sram_cycles: int
    dram_cycles: int
    fill_cycles: int
    cycles: int
    latency_s: float
    utilization: float
    energy: Mapping[str, Energy]
    dram_bytes: float
    sram_bytes: float
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


def matrix_run(record: LayerRecord, hardware: Hardware) -> MatrixRun | None:
    """Return the layer's product on the machine; None for a layer without one.

    Raises UnsupportedError for operand widths that the machine's multipliers do not cover.
    """
    work, unit = record.matrix, hardware.matrix
    if work is None:
        return None
    mode = multiplier_mode(
        unit, a_bits=work.a_multiplier_bits, w_bits=work.w_multiplier_bits, layer=record.name
    )
    array = systolic_run(
        work.m,
        work.n,
        work.k,
        rows=unit.rows,
        cols=unit.cols,
        dataflow=unit.dataflow,
        count=work.count,
        arrays=unit.arrays,
    )
    return MatrixRun(array=array, mode=mode)


def layer_cost(
    record: LayerRecord,
    hardware: Hardware,
    *,
    residency: LayerResidency,
    weights_from_dram: bool = True,
) -> LayerCost:
    """Return the cost of one record with the given exchange with DRAM."""
    run = matrix_run(record, hardware)
    traffic = layer_traffic(
        record, hardware, run=run, residency=residency, weights_from_dram=weights_from_dram
    )
    time = layer_time(
        record,
        hardware,
        run=run,
        traffic=traffic,
        first_tile_bytes=first_tile_bytes(record, hardware, run),
    )
    latency_s = time.cycles / hardware.clock_hz
    on_chip = len(hardware.on_chip)
    work = record.matrix
    return LayerCost(
        name=record.name,
        op=record.op,
        module=record.module,
        macs=record.macs,
        dataflow=run.array.dataflow if run else None,
        multiplier_passes=run.mode.passes if run else None,
        matrix_cycles=time.matrix_cycles,
        hadamard_cycles=time.hadamard_cycles,
        vector_cycles=time.vector_cycles,
        sram_cycles=max(time.level_cycles[:on_chip]),
        dram_cycles=time.level_cycles[on_chip],
        fill_cycles=time.fill_cycles,
        cycles=time.cycles,
        latency_s=latency_s,
        utilization=record.macs / (time.cycles * hardware.matrix.cells) if time.cycles else 0.0,
        energy=layer_energy(record, hardware, run=run, traffic=traffic, latency_s=latency_s),
        dram_bytes=traffic.level_bytes(on_chip),
        sram_bytes=sum(traffic.level_bytes(level) for level in range(on_chip)),
        weight_bytes=record.weights.size_bytes if record.weights else 0.0,
        storage_bits_a=work.a_storage_bits if work else None,
        storage_bits_w=work.w_storage_bits if work else None,
        multiplier_bits_a=work.a_multiplier_bits if work else None,
        multiplier_bits_w=work.w_multiplier_bits if work else None,
        accumulator_bits=work.accumulator_bits if work else None,
        accumulator_fits=work is None or work.accumulator_bits <= hardware.matrix.accumulator_bits,
        bound_by=time.bound_by,
    )
