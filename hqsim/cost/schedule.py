"""Cycles of a layer: its engines and memories work side by side, and the slowest one binds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hqsim.cost.machine import Hardware
from hqsim.cost.matrix import MatrixRun
from hqsim.cost.memory import Traffic
from hqsim.cost.pace import Pace
from hqsim.graph.record import LayerRecord


@dataclass(frozen=True, kw_only=True)
class EngineCycles:
    """Busy cycles of every engine; transforms that the machine has no unit for are the vector unit's."""

    matrix: int
    hadamard: int
    vector: int
    requantize: int
    serial: bool

    @property
    def together(self) -> int:
        """Cycles of the busiest engine, or of one after the other: no layer takes fewer."""
        cycles = (self.matrix, self.hadamard, self.vector, self.requantize)
        return sum(cycles) if self.serial else max(cycles)


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """Busy cycles of every engine and memory, and the cycles of the layer as a whole."""

    engines: EngineCycles
    level_cycles: tuple[int, ...]
    fill_cycles: int
    launch_cycles: int
    cycles: int
    bound_by: str


def engine_cycles(record: LayerRecord, hardware: Hardware, runs: Sequence[MatrixRun]) -> EngineCycles:
    """Return what one layer asks of the engines, memories left out; its ``runs`` follow each other."""
    vector = hardware.vector
    requantize_rate = hardware.requantize_per_cycle
    hadamard = lane_cycles = requantize = 0.0
    for work in record.hadamard:
        unit = hardware.transform_unit(work.order)
        if unit is None:
            lane_cycles += work.butterfly_adds * vector.cycles("hadamard_add")
        else:
            hadamard += work.blocks * unit.block_cycles(work.order)
    for kind, elements in record.vector.items():
        if kind == "requantize" and requantize_rate is not None:
            requantize = elements / requantize_rate
        else:
            lane_cycles += elements * vector.cycles(kind)
    return EngineCycles(
        matrix=sum([run.cycles for run in runs]),
        hadamard=math.ceil(hadamard),
        vector=math.ceil(lane_cycles / vector.lanes),
        requantize=math.ceil(requantize),
        serial=hardware.serial,
    )


def layer_time(operator: str, engines: EngineCycles, hardware: Hardware, traffic: Traffic) -> LayerTime:
    """Return the time of one layer with ``operator``.

    The engines form a pipeline (unless they are serial) and double-buffered memories work beside it, so
    the slowest of them counts; a memory without double buffering adds its transfer, and so do the first
    tile on its way through every memory and the launch of the layer.
    """
    levels = hardware.levels
    level_cycles = tuple(
        [
            math.ceil(moved / level.bytes_per_cycle)
            for moved, level in zip(traffic.level_bytes, levels, strict=True)
        ]
    )
    fill = sum(
        [
            math.ceil(first / level.bytes_per_cycle)
            for first, level in zip(traffic.first_bytes, levels, strict=True)
            if first and level.double_buffered
        ]
    )
    launch = hardware.launch_cycles(operator)
    busy = (engines.matrix, engines.hadamard, engines.vector, engines.requantize, *level_cycles, launch)
    return LayerTime(
        engines=engines,
        level_cycles=level_cycles,
        fill_cycles=fill,
        launch_cycles=launch,
        cycles=Pace(hardware, engines.together).cycles(level_cycles, max) + fill + launch,
        bound_by=hardware.resources[busy.index(max(busy))],
    )
