"""The trace of a step: strict form, slices that nest or follow each other, the step's own latency."""

import itertools
import json
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.cost import estimate_records
from hqsim.cost.timeline import LAYERS, _microseconds, step_timeline, timeline_json
from tests.cost.builders import elementwise, linear, matrix_unit, memory, toy_hardware

NAMES = (
    ("conv_in", "conv_in"),
    ("down.0.res.0.norm1", "down.0.res.0.norm1"),
    ("down.0.res.0.conv1.operand", "down.0.res.0.conv1"),
    ("down.0.res.0.conv1", "down.0.res.0.conv1"),
    ("down.0.res.0.add", "down.0.res.0"),
    ("down.0.res.1.conv1", "down.0.res.1.conv1"),
    ("conv_out", "conv_out"),
    ("sampler.step", ""),
)
"""Layers of a model and their modules, in the order of execution."""


def step(hardware):
    """A layer with a product and an element-wise one in turn, under the names above."""
    records = []
    for index, (name, module) in enumerate(NAMES):
        record = elementwise(name, ("x",)) if index % 2 else linear(name, m=3 + index)
        records.append(record._replace(module=module))
    return estimate_records(records, hardware)


def slices(trace):
    """Begin, end (ns) and the whole event of every slice, by (process, thread), in the order of the file."""
    tracks = defaultdict(list)
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            start, length = (event[key] * 1000 for key in ("ts", "dur"))
            assert start == pytest.approx(int(start)) and length == pytest.approx(int(length))
            # Cut off, as Perfetto's importer does.
            tracks[event["pid"], event["tid"]].append((int(start), int(start) + int(length), event))
    return tracks


def named(trace):
    """Slices by name of track."""
    names = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in trace["traceEvents"]
        if event["name"] == "thread_name"
    }
    return {names[key]: rows for key, rows in slices(trace).items()}


@pytest.mark.parametrize("clock_hz", [1e9, 0.7e9, 1.05e9, 3.3e9])
@pytest.mark.parametrize("double_buffered", [True, False])
def test_slices_nest_and_do_not_overlap(clock_hz, double_buffered):
    dram = memory("dram", None, 4, double_buffered=double_buffered)
    trace = step_timeline([step(toy_hardware(clock_hz=clock_hz, dram=dram, launch_s=5e-9))])
    tracks = named(trace)
    for rows in tracks.values():
        open_ends = []
        for start, end, _ in rows:
            while open_ends and open_ends[-1] <= start:
                open_ends.pop()
            assert not open_ends or end <= open_ends[-1]
            open_ends.append(end)
    for name, rows in tracks.items():
        if name != LAYERS:
            assert all(before[1] <= after[0] for before, after in itertools.pairwise(rows)), name


def test_layers_follow_each_other_and_sum_to_the_step():
    estimate = step(toy_hardware(clock_hz=0.7e9))
    rows = named(step_timeline([estimate]))[LAYERS]
    leaves = [row for row in rows if "op" in row[2]["args"]]
    assert [event["name"] for _, _, event in leaves] == [name for name, _ in NAMES]
    assert leaves[0][0] == 0
    assert all(before[1] == after[0] for before, after in itertools.pairwise(leaves))
    assert sum(end - start for start, end, _ in leaves) == round(estimate.total["latency_s"] * 1e9)


def test_modules_hold_their_layers():
    rows = named(step_timeline([step(toy_hardware())]))[LAYERS]
    depth, nested = [], []
    for start, end, event in rows:
        while depth and depth[-1] <= start:
            depth.pop()
        nested.append((len(depth), event["name"]))
        depth.append(end)
    assert nested == [
        (0, "conv_in"),
        (0, "down.0"),
        (1, "res.0"),
        (2, "down.0.res.0.norm1"),
        (2, "conv1"),
        (3, "down.0.res.0.conv1.operand"),
        (3, "down.0.res.0.conv1"),
        (2, "down.0.res.0.add"),
        (1, "down.0.res.1.conv1"),
        (0, "conv_out"),
        (0, "sampler.step"),
    ]


@pytest.mark.parametrize("double_buffered", [True, False])
def test_every_engine_and_memory_works_within_its_layer_as_long_as_was_counted(double_buffered):
    hardware = toy_hardware(dram=memory("dram", None, 4, double_buffered=double_buffered))
    estimate = step(hardware)
    tracks = named(step_timeline([estimate]))
    assert set(tracks) == {LAYERS, hardware.matrix[0].name, "hadamard", "vector", "sram", "dram"}
    layers = {event["name"]: (start, end) for start, end, event in tracks[LAYERS]}
    counted = {
        hardware.matrix[0].name: {cost.name: cost.matrix_cycles for cost in estimate.costs},
        "hadamard": {cost.name: cost.hadamard_cycles for cost in estimate.costs},
        "vector": {cost.name: cost.vector_cycles for cost in estimate.costs},
        "sram": {cost.name: cost.level_cycles["sram"] for cost in estimate.costs},
        "dram": {cost.name: cost.level_cycles["dram"] for cost in estimate.costs},
    }
    for track, cycles in counted.items():
        drawn = {event["name"]: end - start for start, end, event in tracks[track]}
        assert drawn == {name: count for name, count in cycles.items() if count}  # 1 GHz: a cycle is 1 ns
        for start, end, event in tracks[track]:
            outer_start, outer_end = layers[event["name"]]
            assert outer_start <= start and end <= outer_end


def test_arguments_tell_what_was_counted():
    estimate = step(toy_hardware())
    tracks = named(step_timeline([estimate]))
    first = estimate.costs[0]
    layer = tracks[LAYERS][0][2]["args"]
    assert (layer["op"], layer["macs"], layer["bound_by"]) == (first.op, first.macs, first.bound_by)
    product = tracks[first.unit][0][2]["args"]
    assert product["macs"] == first.macs
    assert product["mapping"].startswith(f"{first.unit} {first.dataflow}")
    assert tracks["dram"][0][2]["args"] == {"bytes": first.level_bytes["dram"]}


def test_the_file_is_strict_json_with_known_events_and_equal_bytes():
    estimates = [step(toy_hardware()), step(toy_hardware(name="slow", clock_hz=1e8))]
    text = timeline_json(estimates)
    assert text == timeline_json([step(toy_hardware()), step(toy_hardware(name="slow", clock_hz=1e8))])

    def refuse(constant):
        raise AssertionError(constant)

    trace = json.loads(text, parse_constant=refuse)
    assert trace == step_timeline(estimates)
    assert set(trace) == {"displayTimeUnit", "traceEvents"}
    events = trace["traceEvents"]
    assert {event["ph"] for event in events} == {"M", "X"}
    for event in events:
        keys = {"ph", "name", "pid", "tid", "args"} | ({"ts", "dur"} if event["ph"] == "X" else set())
        assert set(event) == keys
    processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert list(processes.values()) == ["toy", "slow"]
    threads = [(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"]
    assert {(e["pid"], e["tid"]) for e in events} == set(threads)
    # Unique in the file, none is 0, and the main thread of a process is its track of layers.
    assert [tid for _, tid in threads] == list(range(1, len(threads) + 1))
    layers = {e["pid"]: e["tid"] for e in events if e["args"].get("name") == LAYERS}
    assert layers == {pid: pid for pid in processes}


@given(st.integers(0, 10**15))
def test_a_time_cut_off_to_nanoseconds_is_the_time(nanoseconds):
    written = json.loads(json.dumps(_microseconds(nanoseconds)))
    assert int(written * 1000) == nanoseconds
    assert written == pytest.approx(nanoseconds / 1000, rel=1e-15, abs=0)


def test_several_units_and_a_requantizer_have_tracks_of_their_own():
    small = matrix_unit(name="small", operators=frozenset({"matmul"}))
    hardware = toy_hardware(matrix=(matrix_unit(name="big"), small), requantize_per_cycle=2.0, hadamard=None)
    trace = step_timeline([estimate_records([linear()], hardware)])
    names = [e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"]
    assert names == [LAYERS, "big", "small", "vector", "requantize", "sram", "dram"]
    tracks = named(trace)
    assert "small" not in tracks
    (requantize,) = tracks["requantize"]
    assert requantize[1] - requantize[0] == 12 / 2  # 3 x 4 outputs
