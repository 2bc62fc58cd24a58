"""Runs made by hand, with the columns of the run folder: calm, so that each test plants its own case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from hqsim.analysis.run_folder import Run

LAYERS = tuple(f"block.{index}.conv" for index in range(12))
STEPS = 4
MACHINE = "edge-npu-16x16"
TRANSFORMS = ("none", "width-k5", "width-k5-signs", "channel-k3", "channel-k3-signs", "recipe")
EDGES = np.sinh(np.linspace(-3, 3, 41))


def layers(names: Sequence[str] = LAYERS) -> pd.DataFrame:
    """Return 4-bit layers under a single transform of order 3 along channels, sums proved in 24 bits."""
    return pd.DataFrame(
        {
            "layer": names, "op": "conv2d", "path": names, "macs": 1000, "weight_count": 144,
            "weight_bits": 4, "group_size": pd.array([None] * len(names), dtype="Int64"), "storage_bits": 4,
            "multiplier_bits": 7, "symmetric": True, "transform": "single channel k3",
            "realisation": "runtime", "scale_entries": STEPS, "accumulator_bits": 24, "observed_bits": 18,
            "accumulator_lowest": -90000, "accumulator_highest": 90000,
        }
    )  # fmt: skip


def activations(names: Sequence[str] = LAYERS, steps: int = STEPS) -> pd.DataFrame:
    """Return operands that every transform leaves equally easy: crest 4, 20 dB at 4 bits."""
    rows = [
        {
            "layer": layer, "operand": 0, "step": step, "timestep": 900 - 100 * step, "transform": transform,
            "values": 4096, "absolute_maximum": 4.0, "rms": 1.0, "crest": 4.0, "kurtosis": 3.0, "p99_9": 3.3,
            "p99_99": 3.9, "top_energy_percent": 1.1, "zero_percent": 0.0,
            "clipped_percent": 0.1 if transform == "recipe" else np.nan,
            "sqnr_3bit_db": 14.0, "sqnr_4bit_db": 20.0, "sqnr_8bit_db": 40.0,
        }
        for step in range(steps) for layer in names for transform in TRANSFORMS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def codes(names: Sequence[str] = LAYERS, steps: int = STEPS) -> pd.DataFrame:
    """Return signed 4-bit codes that use their whole range, a tenth of them zero."""
    rows = [
        {
            "layer": layer, "operand": 0, "step": step, "timestep": 900 - 100 * step, "zero_percent": 10.0,
            "saturated_percent": 0.2, "lowest": -8, "highest": 7,
        }
        for step in range(steps) for layer in names
    ]  # fmt: skip
    return pd.DataFrame(rows)


def errors(names: Sequence[str] = LAYERS, steps: int = STEPS) -> pd.DataFrame:
    """Return errors of both modes."""
    rows = [
        {
            "layer": layer, "step": step, "timestep": 900 - 100 * step, "mode": mode,
            "sqnr_db": (50.0 if mode == "teacher-forced" else 20.0) - step + 0.1 * at,
            "mismatch_percent": 0.02, "max_lsb": 1,
        }
        for mode in ("teacher-forced", "free-running") for step in range(steps)
        for at, layer in enumerate(names)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def sensitivity(names: Sequence[str] = LAYERS) -> pd.DataFrame:
    """Return layers with equal shares of the error."""
    return pd.DataFrame(
        {
            "layer": names, "one_on_db": 30.0, "one_off_db": 20.1, "gain_db": 0.1,
            "share_percent": 100 / len(names), "steps": 3,
        }
    )  # fmt: skip


def growth(steps: int = STEPS) -> pd.DataFrame:
    """Return an error that grows evenly."""
    return pd.DataFrame(
        {
            "step": range(steps),
            "timestep": [900 - 100 * step for step in range(steps)],
            "sample_sqnr_db": np.linspace(30, 10, steps),
            "noise_sqnr_db": 15.0,
            "gained_percent": 100 / steps,
        }
    )


def quality(sqnr_db: float = 10.0) -> pd.DataFrame:
    """Return the float model and the integer one, whose interval is one dB wide."""
    return pd.DataFrame(
        {
            "executor": ["float", "integer"], "images": 8, "sqnr_db": [np.inf, sqnr_db],
            "sqnr_low_db": [np.nan, sqnr_db - 0.5], "sqnr_high_db": [np.nan, sqnr_db + 0.5],
            "psnr_db": [np.inf, 18.0], "classifier_accuracy": [0.98, 0.96], "frechet_distance": [1.5, 2.5],
        }
    )  # fmt: skip


def cost(names: Sequence[str] = LAYERS, machine: str = MACHINE) -> pd.DataFrame:
    """Return layers of a microsecond (1000 cycles) that the matrix unit binds, in one pass each."""
    count = len(names)
    return pd.DataFrame(
        {
            "machine": machine, "name": names, "op": "conv2d", "module": names,
            "start_cycle": 1000 * np.arange(count), "macs": 100_000, "multiplier_passes": 1,
            "matrix_cycles": 900, "hadamard_cycles": 100, "vector_cycles": 50, "requantize_cycles": 10,
            "sram_cycles": 300, "dram_cycles": 400, "cycles": 1000, "latency_s": 1e-6, "utilization": 0.5,
            "dram_bytes": 800.0, "weight_bytes": 500.0, "storage_bits_a": 4, "storage_bits_w": 4,
            "multiplier_bits_a": 7, "multiplier_bits_w": 4, "accumulator_bits": 24, "accumulator_fits": True,
            "bound_by": "matrix", "realisation": "runtime", "energy_hadamard_pj": 1.0, "energy_pj": 100.0,
        }
    )  # fmt: skip


def totals(energy_pj: float = 1e9, latency_s: float = 1e-3, machine: str = MACHINE) -> pd.DataFrame:
    """Return one machine's totals."""
    return pd.DataFrame(
        {
            "machine": [machine], "latency_per_step_s": latency_s / STEPS, "latency_per_image_s": latency_s,
            "energy_per_image_pj": energy_pj, "dram_per_step_bytes": 1e4,
            "dram_per_image_bytes": 1e4 * STEPS, "utilization_percent": 50.0, "bound_by": "matrix",
            "bound_percent": 80.0, "assumed_energy_percent": 5.0, "energy_pj.multiply": 0.6 * energy_pj,
            "energy_pj.dram": 0.4 * energy_pj,
        }
    )  # fmt: skip


def arrays(names: Sequence[str] = LAYERS) -> dict[str, np.ndarray]:
    """Return maxima of 16 equal channels and the histogram of a bell, before and after the transform."""
    found: dict[str, np.ndarray] = {"histogram_edges": EDGES}
    bell = np.round(1e4 * np.exp(-np.square((EDGES[1:] + EDGES[:-1]) / 2) / 2)).astype(np.int64)
    for layer in names:
        for transform in ("none", "recipe"):
            found[f"maxima/{layer}/0/{transform}/channel"] = np.full(16, 4.0, np.float32)
            found[f"histogram/{layer}/0/{transform}"] = bell
    return found


def images(count: int = 3) -> dict[str, np.ndarray]:
    """Return grey images of two executors and their labels."""
    ramp = np.arange(count * 64, dtype=np.uint8).reshape(count, 1, 8, 8)
    return {"float": ramp, "integer": ramp + 1, "labels": np.arange(count)}


def calm_run(name: str = "hqdm-channel-w4a4", **parts: Any) -> Run:
    """Return a run about which no rule has anything to say; ``parts`` take the place of its own."""
    settings = {
        "model": "digits", "recipe": name, "steps": STEPS, "labels": [0, 1, 2], "guidance": 2.0, "seed": 0,
    }  # fmt: skip
    run = Run(
        name=name,
        manifest={"settings": settings, "inputs": {}},
        layers=layers(),
        activations=activations(),
        codes=codes(),
        errors=errors(),
        sensitivity=sensitivity(),
        growth=growth(),
        quality=quality(),
        cost=cost(),
        totals=totals(),
        arrays=arrays(),
        images=images(),
    )
    return replace(run, **parts)
