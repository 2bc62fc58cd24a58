"""Energy of a layer by part, and how much of it rests on assumed numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from hqsim.cost.machine import Hardware, MemoryLevel, Quantity
from hqsim.cost.matrix import MatrixRun
from hqsim.cost.memory import Traffic
from hqsim.graph.record import LayerRecord

PARTS = ("multiply", "hadamard", "vector", "sram", "dram", "static")
PJ_PER_J = 1e12

Uses = list[tuple[Quantity, float]]
"""Operations or bytes: their energy each, and how many."""


class Energy(NamedTuple):
    """An energy and the share of it that comes from assumed numbers."""

    pj: float = 0.0
    assumed_pj: float = 0.0


def charge(uses: Iterable[tuple[Quantity, float]]) -> Energy:
    """Return the energy of ``uses``, and what of it is assumed."""
    pj = assumed_pj = 0.0
    for quantity, amount in uses:
        part = quantity.value * amount
        pj += part
        assumed_pj += part if quantity.assumed else 0.0
    return Energy(pj, assumed_pj)


def layer_energy(
    record: LayerRecord,
    hardware: Hardware,
    *,
    runs: Sequence[MatrixRun],
    traffic: Traffic,
    latency_s: float,
    zero_fraction: float = 0.0,
    toggles: Sequence[float] = (),
) -> Mapping[str, Energy]:
    """Return the energy of one layer by part; the parts are its whole energy.

    ``runs`` are those of the product and of its parity term. On a machine with zero gating the
    ``zero_fraction`` of the product's multiplications, those of a zero operand code, costs neither
    multiplier nor adder. ``toggles`` are the shares of consecutive operands of the product in which each bit
    changes, the lowest bit first; they count on a unit that has an energy per toggle.
    """
    gated = zero_fraction if hardware.zero_gating else 0.0
    vector = hardware.vector
    work = ((record.macs, gated, toggles), (record.parity_macs, 0.0, ()))
    multiply = [use for run, known in zip(runs, work, strict=False) for use in _multiply(run, *known)]
    return {
        "multiply": charge(multiply),
        "hadamard": charge(_hadamard(record, hardware)),
        "vector": charge([(vector.energy_pj(kind), elements) for kind, elements in record.vector.items()]),
        "sram": charge(_accesses(hardware.on_chip, traffic, 0)),
        "dram": charge(_accesses((hardware.dram,), traffic, len(hardware.on_chip))),
        "static": charge([(hardware.static_power_w, latency_s * PJ_PER_J)]),
    }


def _accesses(memories: Sequence[MemoryLevel], traffic: Traffic, first: int) -> Uses:
    """Return what ``memories`` read and write, the number of whose first one is ``first``."""
    uses: Uses = []
    for level, memory in enumerate(memories, first):
        uses.append((memory.read_pj_per_byte, traffic.read_bytes[level]))
        uses.append((memory.write_pj_per_byte, traffic.write_bytes[level]))
    return uses


def _multiply(run: MatrixRun, macs: int, zero_fraction: float, toggles: Sequence[float]) -> Uses:
    """Multiplier, adder and pipeline registers of every pass, at the native widths that do the work."""
    unit, mode = run.unit, run.mode
    operations = macs * mode.passes
    worked = operations * (1.0 - zero_fraction)
    uses = [(_multiply_pj(run, toggles), worked)]
    if unit.add:
        uses.append((unit.add.at(unit.accumulator_bits), worked))
    if unit.register_pj_per_bit:
        # A stationary operand stays in its register; any other moves with every operation.
        both = mode.a_bits + mode.w_bits
        moving = {"ws": mode.a_bits, "is": mode.w_bits}.get(run.run.label, both)
        uses.append((unit.register_pj_per_bit, operations * (moving + unit.accumulator_bits)))
    return uses


def _multiply_pj(run: MatrixRun, toggles: Sequence[float]) -> Quantity:
    """Energy of one pass; bits that the multiplier has more than the operand repeat the operand's highest."""
    mode = run.mode
    known = run.unit.multiply_pj(mode.a_bits, mode.w_bits)
    per_toggle = run.unit.toggle_pj
    if per_toggle is None or not toggles:
        return known
    bits = mode.a_bits * mode.a_passes
    changing = sum(toggles) + (bits - len(toggles)) * toggles[-1]
    more = per_toggle.value * (changing - bits / 2) / mode.a_passes
    return Quantity(value=max(known.value + more, 0.0), assumed=known.assumed or per_toggle.assumed)


def _hadamard(record: LayerRecord, hardware: Hardware) -> Uses:
    uses: Uses = []
    for work in record.hadamard:
        unit = hardware.transform_unit(work.order)
        if unit is None:
            uses.append((hardware.vector.energy_pj("hadamard_add"), work.butterfly_adds))
        else:
            # Codes of b bits grow to b + order through a transform of 2**order points.
            bits = record.inputs[0].bits + work.order
            adds = work.dense_adds if unit.kind == "dense" else work.butterfly_adds
            uses.append((unit.add.at(bits), adds))
    return uses
