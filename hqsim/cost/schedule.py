"""Cycles of a layer: its engines and memories work side by side, and the slowest one binds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hqsim.cost.energy import hadamard_adds
from hqsim.cost.machine import Hardware
from hqsim.cost.memory import MatrixRun, Traffic
from hqsim.graph.record import LayerRecord


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """Busy cycles of every engine and memory, and the cycles of the layer as a whole."""

    matrix_cycles: int
    hadamard_cycles: int
    vector_cycles: int
    level_cycles: tuple[int, ...]
    fill_cycles: int
    cycles: int
    bound_by: str


def layer_time(
    record: LayerRecord,
    hardware: Hardware,
    *,
    run: MatrixRun | None,
    traffic: Traffic,
    first_tile_bytes: float,
) -> LayerTime:
    """Return the time of one layer.

    Matrix, transform and vector units form a pipeline and double-buffered memories work beside it, so
    the slowest of them counts; a memory without double buffering adds its transfer, and so does the
    first tile on its way through every memory behind level 0. Without a transform unit the transforms
    are work of the vector unit.
    """
    matrix = run.array.cycles * run.mode.passes if run else 0
    hadamard = _hadamard_cycles(record, hardware)
    unit = hardware.vector
    work = sum(elements * unit.cycles(kind) for kind, elements in record.vector.items())
    vector = math.ceil(work / unit.lanes)
    transfers = tuple(
        math.ceil(traffic.level_bytes(index) / level.bytes_per_cycle)
        for index, level in enumerate(hardware.levels)
    )
    fill = sum(
        math.ceil(min(first_tile_bytes, traffic.read_bytes[index]) / level.bytes_per_cycle)
        for index, level in enumerate(hardware.levels)
        if index > 0 and level.double_buffered
    )
    busy = {"matrix": matrix}
    if hardware.hadamard is None:
        busy["vector"] = vector + hadamard
    else:
        busy |= {"hadamard": hadamard, "vector": vector}
    busy |= {level.name: cycles for level, cycles in zip(hardware.levels, transfers, strict=True)}
    exposed = {level.name for level in hardware.levels if not level.double_buffered}
    hidden = max(cycles for name, cycles in busy.items() if name not in exposed)
    return LayerTime(
        matrix_cycles=matrix,
        hadamard_cycles=hadamard,
        vector_cycles=vector,
        level_cycles=transfers,
        fill_cycles=fill,
        cycles=hidden + sum(busy[name] for name in exposed) + fill,
        bound_by=max(busy, key=lambda name: busy[name]),
    )


def _hadamard_cycles(record: LayerRecord, hardware: Hardware) -> int:
    unit = hardware.hadamard
    if unit is not None:
        adds = sum(hadamard_adds(work, unit.kind) for work in record.hadamard)
        return math.ceil(adds / unit.adds_per_cycle)
    adds = sum(work.butterfly_adds for work in record.hadamard)
    return math.ceil(adds * hardware.vector.cycles("hadamard_add") / hardware.vector.lanes)
