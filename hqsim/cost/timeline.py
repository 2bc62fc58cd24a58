"""One denoising step as a timeline in the Trace Event Format (JSON), which Perfetto opens.

One process per machine. Its track *layers* nests the model's modules and layers; below it lies one track
per matrix unit, transform unit, vector unit, requantizer and memory, with the time for which each layer keeps
it busy. Within a layer the cost model knows how long they work, not when: units are drawn from the end of the
first fill (serial ones one after the other), a double-buffered memory from the end of the launch, any other
memory at the layer's end, where its transfer is exposed.

Times are whole nanoseconds, written in microseconds as the format asks; both ends of a slice are
rounded, so neighbours neither overlap nor leave a gap. Perfetto's importer cuts off what ``microseconds *
1000`` has behind the point, finds the name of a thread by its number alone, and gives every process a main
thread of the process' number; its viewer hides number 0. So times are a hair above what the cut needs, and
numbers start at 1 and are unique in a file, the first track of a process having that of the process.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from hqsim.cost.estimate import Estimate
from hqsim.cost.layer import LayerCost
from hqsim.cost.machine import Hardware

Event = dict[str, Any]
LAYERS = "layers"
"""Name of the track of modules and layers."""


def step_timeline(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Return the first step of every estimate as one trace, a process each, in the order given."""
    events: list[Event] = []
    process = 1
    for estimate in estimates:
        hardware = estimate.hardware
        tracks = _tracks(hardware, first=process)
        events.append(_metadata("process_name", process, process, {"name": hardware.name}))
        for track, thread in tracks.items():
            events.append(_metadata("thread_name", process, thread, {"name": track}))
            events.append(_metadata("thread_sort_index", process, thread, {"sort_index": thread}))
        for name, track, start, end, arguments in _slices(estimate):
            events.append(
                _slice(hardware, name, start, end, arguments) | {"pid": process, "tid": tracks[track]}
            )
        process += len(tracks)
    return {"displayTimeUnit": "ns", "traceEvents": events}


def timeline_json(estimates: Sequence[Estimate]) -> str:
    """Return :func:`step_timeline` as text, one event per line; equal estimates give equal bytes."""
    trace = step_timeline(estimates)
    lines = ",\n".join(json.dumps(event, ensure_ascii=False) for event in trace["traceEvents"])
    return f'{{"displayTimeUnit": "{trace["displayTimeUnit"]}", "traceEvents": [\n{lines}\n]}}\n'


def _metadata(kind: str, process: int, thread: int, arguments: Event) -> Event:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": arguments}


def _tracks(hardware: Hardware, *, first: int) -> dict[str, int]:
    """Thread numbers from ``first`` by track name, in the order in which they are drawn."""
    units = [unit.name for unit in hardware.matrix]
    transform = ["hadamard"] if hardware.hadamard else []
    requantize = ["requantize"] if hardware.requantize_per_cycle else []
    levels = [level.name for level in hardware.levels]
    names = [LAYERS, *units, *transform, "vector", *requantize, *levels]
    return {name: thread for thread, name in enumerate(names, start=first)}


def _slice(hardware: Hardware, name: str, start: int, end: int, arguments: Event) -> Event:
    """Complete event from cycle ``start`` to ``end``; arguments that are None are left out."""
    start_ns, end_ns = (round(cycle * 1e9 / hardware.clock_hz) for cycle in (start, end))
    times = {"ts": _microseconds(start_ns), "dur": _microseconds(end_ns - start_ns)}
    known = {key: value for key, value in arguments.items() if value is not None}
    return {"ph": "X", "name": name, **times, "args": known}


def _microseconds(nanoseconds: int) -> float:
    """Return microseconds whose thousandfold, cut off, is ``nanoseconds``."""
    microseconds = nanoseconds / 1000
    return microseconds if int(microseconds * 1000) == nanoseconds else math.nextafter(microseconds, math.inf)


def _slices(estimate: Estimate) -> Iterator[tuple[str, str, int, int, Event]]:
    """Name, track, first cycle, end cycle and arguments of every slice, outer ones before inner ones."""
    for name, start, end, arguments in _nested(estimate.costs, depth=0):
        yield name, LAYERS, start, end, arguments
    for cost in estimate.costs:
        for track, start, cycles, arguments in _work(cost, estimate.hardware):
            if cycles:
                yield cost.name, track, start, start + cycles, arguments


def _nested(costs: Sequence[LayerCost], *, depth: int) -> Iterator[tuple[str, int, int, Event]]:
    """Slices of modules and layers; a module with a single layer is that layer."""
    for part, group in groupby(costs, key=lambda cost: _part(cost, depth)):
        inner = tuple(group)
        if part is None or len(inner) == 1:
            for cost in inner:
                yield cost.name, cost.start_cycle, cost.start_cycle + cost.cycles, _layer_arguments(cost)
            continue
        end = inner[-1].start_cycle + inner[-1].cycles
        yield part, inner[0].start_cycle, end, {"layers": len(inner), "macs": sum(c.macs for c in inner)}
        yield from _nested(inner, depth=depth + 1)


def _part(cost: LayerCost, depth: int) -> str | None:
    """Part ``depth`` of the layer's module, a list and its index as one: ``down_blocks.0``."""
    parts = re.split(r"\.(?!\d)", cost.module) if cost.module else []
    return parts[depth] if depth < len(parts) else None


def _layer_arguments(cost: LayerCost) -> Event:
    return {
        "op": cost.op,
        "macs": cost.macs,
        "cycles": cost.cycles,
        "bound_by": cost.bound_by,
        "dram_bytes": cost.dram_bytes,
        "energy_pj": cost.energy_pj,
        "mapping": cost.mapping.text or None,
    }


def _work(cost: LayerCost, hardware: Hardware) -> Iterator[tuple[str, int, int, Event]]:
    """Track, first cycle, cycles and arguments of everything that the layer keeps busy."""
    work_start = cost.start_cycle + cost.launch_cycles
    units_start = work_start + cost.fill_cycles
    matrix = {"macs": cost.macs, "folds": cost.folds, "mapping": cost.mapping.text or None}
    engines: list[tuple[str, int, Event]] = [
        ("hadamard", cost.hadamard_cycles, {"realisation": cost.realisation}),
        ("vector", cost.vector_cycles, {}),
        ("requantize", cost.requantize_cycles, {}),
    ]
    before = 0
    for name, cycles, arguments in [(cost.unit, cost.matrix_cycles, matrix), *engines]:
        if name is not None:
            yield name, units_start + (before if hardware.serial else 0), cycles, arguments
        before += cycles
    exposed_end = cost.start_cycle + cost.cycles
    for level in reversed(hardware.levels):
        cycles, moved = cost.level_cycles[level.name], {"bytes": cost.level_bytes[level.name]}
        if level.double_buffered:
            yield level.name, work_start, cycles, moved
        else:
            exposed_end -= cycles
            yield level.name, exposed_end, cycles, moved
