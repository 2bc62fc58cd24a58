"""This machine's integer kernels: the time of every layer of a step of LDM-4, predicted and measured.

    NUMBA_NUM_THREADS=2 python -m benchmarks.validation.host_cpu --calibrate    constants of host-cpu.yaml
    NUMBA_NUM_THREADS=2 python -m benchmarks.validation.host_cpu                docs/validation-host-cpu.csv

The integer executor runs one model step several times; a layer's time is the median over the steps, its
prediction that of ``hw_models/host-cpu.yaml``, with every product as the kernels run it. ``--calibrate`` fits
the constants of that file (MACs per cell and cycle, cycles per element of every kind, time before a layer of
some kinds) to a step of another model, LDM-8, so that the comparison is not with the figures that the
constants come from, and measures the bandwidth beyond the second cache by copies. A layer that is predicted
and measured below ``SMALL`` of its launches is judged by its absolute error.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.validation import with_errors
from hqsim.cost import Hardware, estimate_records, load_hardware
from hqsim.cost.candidates import realised
from hqsim.cost.matrix import matrix_run
from hqsim.graph import LayerRecord

MODEL, CALIBRATION_MODEL, RECIPE = "ldm4-imagenet", "ldm8-churches", "hqdm-w4a4"
MACHINE, STEPS, SMALL = "host-cpu", 9, 2.0
COPY_BYTES, COPIES = 4 << 20, 16
"""A large activation, and so many of them that none is left in the second cache when its turn comes."""
LAUNCHES = ("conv2d", "linear", "matmul", "group_norm", "add", "quantize")
"""Operators with a launch of their own: more Python before the kernel, threads woken more than once."""
CSV = Path(__file__).resolve().parents[2] / "docs" / "validation-host-cpu.csv"


def measured_step(model: str, *, steps: int = STEPS) -> tuple[list[LayerRecord], dict[str, float]]:
    """Return the records of one image's step and the median seconds of every node."""
    import hqsim
    from hqsim.analysis.estimate import records_of
    from hqsim.simulate.executors import CodeExecutor
    from hqsim.simulate.sampler import resolve_settings, start_run, step_contexts

    class TimedExecutor(CodeExecutor):
        """Notes how long every node takes."""

        def evaluate(self, node: Any, inputs: Any, entry: int) -> np.ndarray:
            start = time.perf_counter()
            codes = super().evaluate(node, inputs, entry)
            seconds[node.name].append(time.perf_counter() - start)
            return codes

    seconds: dict[str, list[float]] = defaultdict(list)
    qmodel = hqsim.quantize(hqsim.load_model(model), RECIPE, steps=1, images=1, guidance=1.0, seed=0)
    labels = [7] if qmodel.model.classes else [0]
    settings = resolve_settings(qmodel, labels=labels, images=None, steps=1, guidance=1.0, seed=0)
    executor = TimedExecutor(qmodel, form="integer")
    sample = start_run(qmodel, executor, settings)
    (context,) = step_contexts(qmodel, settings)
    for _ in range(1 + steps):
        for _ in executor.predict(sample, context):
            pass
    records = records_of(qmodel, recipe=None, batch=1, guidance=1.0, steps=1)
    # The first step compiles and fills the caches.
    return records, {name: statistics.median(values[1:]) for name, values in seconds.items()}


def compare(records: Sequence[LayerRecord], seconds: Mapping[str, float]) -> pd.DataFrame:
    """Return one row per measured layer, milliseconds; ``small`` ones are judged by their absolute error."""
    hardware = load_hardware(MACHINE)
    rows = [
        {
            "layer": cost.name,
            "op": cost.op,
            "launch_ms": 1e3 * cost.launch_cycles / hardware.clock_hz,
            "published": 1e3 * seconds[cost.name],
            "modelled": 1e3 * cost.latency_s,
        }
        for cost in estimate_records(executed(records), hardware, realisation="as_lowered").costs
        if cost.name in seconds
    ]
    table = with_errors(rows)
    small_ms = SMALL * table.pop("launch_ms")
    small = (table["published"] < small_ms) & (table["modelled"] < small_ms)
    return table.assign(small=small, error_ms=table["modelled"] - table["published"])


def executed(records: Sequence[LayerRecord]) -> list[LayerRecord]:
    """Return the records as the kernels run them: by parity where that turns operands of 9 bits into 8.

    ``pack_layer`` in hqsim/ops/fused.py does so, except for convolutions of a single channel.
    """
    return [realised(record, "parity") if _is_halved(record) else record for record in records]


def _is_halved(record: LayerRecord) -> bool:
    return bool(record.matrix and record.matrix.a_multiplier_bits == 9 and "parity" in record.variants)


def work_of(record: LayerRecord, hardware: Hardware) -> dict[str, float]:
    """Return the seconds that a layer's work would take at one cycle per element and full matrix rate."""
    lane_s = 1 / (hardware.vector.lanes * hardware.clock_hz)
    work = {kind: elements * lane_s for kind, elements in record.vector.items()}
    if record.hadamard:
        work["hadamard_add"] = sum(part.butterfly_adds for part in record.hadamard) * lane_s
    for part in (record.matrix, record.parity and record.parity.matrix):
        if part:
            run = matrix_run(hardware.matrix[0], part, layer=record.name)
            kind = f"matrix {run.mode.a_bits} x {run.mode.w_bits}"
            work[kind] = work.get(kind, 0.0) + run.cycles * run.mode.rate / hardware.clock_hz
    return work | {f"launch {record.op}" if record.op in LAUNCHES else "launch": 1.0}


def copy_bandwidth(rounds: int = 30) -> float:
    """Return bytes read and written in a second by two threads, of arrays that the second cache lost."""
    import torch

    torch.set_num_threads(2)
    arrays = [torch.zeros(COPY_BYTES // 2, dtype=torch.int16) for _ in range(COPIES)]
    seconds = []
    for _ in range(rounds):
        for source, target in zip(arrays, arrays[1:] + arrays[:1], strict=True):
            start = time.perf_counter()
            target.copy_(source)
            seconds.append(time.perf_counter() - start)
    return 2 * COPY_BYTES / statistics.median(seconds)


def calibrate(records: Sequence[LayerRecord], seconds: Mapping[str, float]) -> dict[str, float]:
    """Return what fits the layers' times best: cycles per kind, or per MAC and cell, and seconds per launch.

    Least squares of relative errors, no constant below zero.
    """
    from scipy.optimize import nnls

    hardware = load_hardware(MACHINE)
    measured = [record for record in executed(records) if record.name in seconds]
    work = pd.DataFrame([work_of(record, hardware) for record in measured]).fillna(0.0)
    relative = work.div([seconds[record.name] for record in measured], axis=0)
    scale = relative.max()
    fitted, _ = nnls((relative / scale).to_numpy(), np.ones(len(measured)))
    return dict(zip(work.columns, (fitted / scale).tolist(), strict=True))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per operator: layers, seconds of all of them, errors of the large and the small ones."""
    rows = []
    for op, part in (*table.groupby("op", sort=False), ("all", table)):
        large, small = part[~part["small"]], part[part["small"]]
        rows.append(
            {
                "op": op,
                "layers": len(part),
                "measured_ms": part["published"].sum(),
                "predicted_ms": part["modelled"].sum(),
                "large": len(large),
                "mean_percent": large["error_percent"].abs().mean(),
                "worst_percent": large["error_percent"].abs().max(),
                "small_mean_ms": small["error_ms"].abs().mean(),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, then fit or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calibrate", action="store_true", help="print constants fitted to another model")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    model = CALIBRATION_MODEL if options.calibrate else MODEL
    records, seconds = measured_step(model, steps=options.steps)
    if options.calibrate:
        for name, value in calibrate(records, seconds).items():
            rate = f", rate {1 / value:.4g}" if name.startswith("matrix") and value else ""
            print(f"{name}: {value:.4g}{rate}")
        print(f"dram: {copy_bandwidth():.4g} bytes/s")
        return
    table = compare(records, seconds)
    table.to_csv(CSV, index=False, float_format="%.6g", lineterminator="\n")
    print(summary(table).to_string(index=False, float_format=lambda value: f"{value:.3g}"))


if __name__ == "__main__":
    main()
