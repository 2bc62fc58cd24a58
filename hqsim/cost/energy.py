"""Energy of a layer by part, and how much of it rests on assumed numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hqsim.cost.machine import Hardware, MatrixUnit, Quantity
from hqsim.cost.memory import MatrixRun, Traffic
from hqsim.graph.record import HadamardWork, LayerRecord

PARTS = ("multiply", "hadamard", "vector", "sram", "dram", "static")
PJ_PER_J = 1e12


@dataclass(frozen=True)
class Energy:
    """An energy and the share of it that comes from assumed numbers."""

    pj: float = 0.0
    assumed_pj: float = 0.0

    def __add__(self, other: Energy) -> Energy:
        """Add both figures."""
        return Energy(self.pj + other.pj, self.assumed_pj + other.assumed_pj)


def charge(quantity: Quantity, amount: float) -> Energy:
    """Return the energy of ``amount`` operations (or bytes) at ``quantity`` pJ each."""
    pj = quantity.value * amount
    return Energy(pj, pj if quantity.assumed else 0.0)


def hadamard_adds(work: HadamardWork, kind: str) -> int:
    """Return the additions of a block transform on a ``butterfly`` or ``dense`` unit."""
    return work.dense_adds if kind == "dense" else work.butterfly_adds


def layer_energy(
    record: LayerRecord,
    hardware: Hardware,
    *,
    run: MatrixRun | None,
    traffic: Traffic,
    latency_s: float,
) -> Mapping[str, Energy]:
    """Return the energy of one layer by part; the parts are its whole energy."""
    on_chip = len(hardware.on_chip)
    vector = Energy()
    for kind, elements in record.vector.items():
        vector += charge(hardware.vector.energy_pj(kind), elements)
    sram = Energy()
    for level in range(on_chip):
        sram += _access(hardware, traffic, level)
    return {
        "multiply": _multiply(hardware.matrix, run, record.macs) if run else Energy(),
        "hadamard": _hadamard(record, hardware),
        "vector": vector,
        "sram": sram,
        "dram": _access(hardware, traffic, on_chip),
        "static": charge(hardware.static_power_w, latency_s * PJ_PER_J),
    }


def _access(hardware: Hardware, traffic: Traffic, level: int) -> Energy:
    memory = hardware.levels[level]
    reads = charge(memory.read_pj_per_byte, traffic.read_bytes[level])
    return reads + charge(memory.write_pj_per_byte, traffic.write_bytes[level])


def _multiply(unit: MatrixUnit, run: MatrixRun, macs: int) -> Energy:
    """Multiplier, adder and pipeline registers of every pass, at the native widths that do the work."""
    mode = run.mode
    operations = macs * mode.passes
    energy = charge(unit.multiply.at(mode.a_bits, mode.w_bits), operations)
    if unit.add:
        energy += charge(unit.add.at(unit.accumulator_bits), operations)
    if unit.register_pj_per_bit:
        moving = {"os": mode.a_bits + mode.w_bits, "ws": mode.a_bits, "is": mode.w_bits}[run.array.dataflow]
        energy += charge(unit.register_pj_per_bit, operations * (moving + unit.accumulator_bits))
    return energy


def _hadamard(record: LayerRecord, hardware: Hardware) -> Energy:
    energy = Energy()
    for work in record.hadamard:
        unit = hardware.hadamard
        if unit is None:
            energy += charge(hardware.vector.energy_pj("hadamard_add"), work.butterfly_adds)
        else:
            # Codes of b bits grow to b + order through a transform of 2**order points.
            bits = record.inputs[0].bits + work.order
            energy += charge(unit.add.at(bits), hadamard_adds(work, unit.kind))
    return energy
