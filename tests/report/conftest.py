"""A made-up run with the shape of a real one: a UNet's layers, DDIM steps, two machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from hqsim.report import ImageStrip, RunReport, VerdictCard, write_report
from hqsim.report.roofline import Ceiling, RooflinePanel, RooflinePoint

BLOCK = (
    "resnets.0.conv1",
    "resnets.0.time_emb_proj",
    "resnets.0.conv2",
    "resnets.1.conv1",
    "resnets.1.conv2",
    "attentions.0.to_q",
    "attentions.0.to_k",
    "attentions.0.to_v",
    "attentions.0.to_out.0",
)


def layer_names(count: int) -> list[str]:
    """Return ``count`` module names in the order in which a UNet runs them."""
    middle = max(count - 4, 0)
    blocks = -(-middle // len(BLOCK))
    names = ["time_embedding.linear_1", "time_embedding.linear_2", "conv_in"]
    for block in range(blocks):
        if block < blocks // 2:
            stem = f"down_blocks.{block}"
        else:
            stem = "mid_block" if block == blocks // 2 else f"up_blocks.{block - blocks // 2 - 1}"
        names += [f"{stem}.{part}" for part in BLOCK]
    return [*names[: count - 1], "conv_out"]


def blobs(count: int, noise: float, seed: int) -> NDArray[np.uint8]:
    """Return ``count`` smooth 32 x 32 strokes with ``noise`` grey levels of error on top."""
    y, x = np.mgrid[0:32, 0:32].astype(np.float64)
    random = np.random.default_rng(seed)
    images = []
    for index in range(count):
        shape = np.random.default_rng(index)
        image = np.zeros((32, 32))
        at, angle = shape.uniform(9, 22, 2), shape.uniform(0, 6.3)
        for _ in range(60):
            image = np.maximum(image, np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 4.5))
            angle += shape.normal(0.13, 0.16)
            at = np.clip(at + 0.7 * np.array([np.cos(angle), np.sin(angle)]), 6, 25)
        images.append(np.clip(255 * image + random.normal(0, noise, image.shape), 0, 255))
    return np.array(images).astype(np.uint8)


def step_frame(names: list[str], steps: int) -> pd.DataFrame:
    """Return errors that grow along the trajectory (free-running) or stay flat (teacher-forced)."""
    random = np.random.default_rng(7)
    rows = []
    for mode in ("teacher-forced", "free-running"):
        for depth, layer in enumerate(names):
            base = (
                random.normal(54, 6) if mode == "teacher-forced" else 30 - 0.12 * depth + random.normal(0, 2)
            )
            for step in range(steps):
                drift = 0 if mode == "teacher-forced" else 14 * (step / max(steps - 1, 1)) ** 0.6
                sqnr = base - drift + random.normal(0, 1.2)
                if mode == "teacher-forced" and layer.endswith("time_emb_proj"):
                    sqnr = np.inf
                if layer == "conv_out" and step == 0:
                    sqnr = np.nan
                rows.append(
                    (
                        layer,
                        step,
                        1000 - 50 * step if steps <= 20 else 1000 - 10 * step,
                        mode,
                        sqnr,
                        0.04 * abs(random.normal()),
                        1,
                    )
                )
    return pd.DataFrame(
        rows, columns=["layer", "step", "timestep", "mode", "sqnr_db", "mismatch_percent", "max_lsb"]
    )


def layer_frame(names: list[str]) -> pd.DataFrame:
    """Return formats, bounds, errors and the cost on two machines, one row per layer."""
    random = np.random.default_rng(3)
    rows = []
    for name in names:
        conv = "conv" in name
        edge8 = name in ("conv_in", "conv_out")
        bound = int(random.integers(2**14, 2**22))
        macs = int(10 ** random.uniform(5, 8))
        rows.append(
            {
                "layer": name,
                "op": "conv2d" if conv else "linear",
                "module": name.rsplit(".", 1)[0],
                "weight_bits": 8 if edge8 else 4,
                "activation_bits": 8 if edge8 else 4,
                "multiplier_bits": "8 x 8" if edge8 else "7 x 4" if conv else "9 x 4",
                "storage": "int8" if edge8 else "int4",
                "transform": "none" if edge8 else "channel k=3 signs",
                "accumulator_bits": bound.bit_length() + 1,
                "bound": bound,
                "observed": f"[{-bound // 5}, {bound // 4}]",
                "saturated": int(random.integers(0, 40)),
                "sqnr_db": float(random.normal(50, 6)) if not name.endswith("time_emb_proj") else np.inf,
                "mismatch_percent": 0.04 * abs(float(random.normal())),
                "macs": macs,
                **{
                    f"{key}[{machine}]": value
                    for machine, lanes, pj in (("edge-npu-16x16", 256, 0.9), ("tpu-v4i", 65536, 0.3))
                    for key, value in (
                        ("cycles", int(macs / lanes * random.uniform(1, 3)) + 60),
                        ("energy_pj", macs * pj * random.uniform(0.8, 1.6)),
                        ("dram_bytes", int(macs**0.7)),
                        ("utilization", float(random.uniform(0.1, 0.97))),
                        ("bound_by", random.choice(["compute", "dram", "vector"])),
                    )
                },
            }
        )
    return pd.DataFrame(rows)


def totals_frame() -> pd.DataFrame:
    """Return the totals of two machines with their energy in four parts."""
    return pd.DataFrame(
        {
            "machine": ["edge-npu-16x16", "tpu-v4i"],
            "latency_per_step_s": [0.00871, 0.000094],
            "latency_per_image_s": [0.348, 0.00376],
            "energy_per_image_pj": [3.12e10, 1.94e10],
            "dram_bytes": [96_468_992, 31_457_280],
            "utilization": [0.613, 0.042],
            "bound_by": ["compute", "dram"],
            "energy_pj.multiply": [9.1e9, 3.2e9],
            "energy_pj.hadamard": [8e8, 7e8],
            "energy_pj.sram": [7.2e9, 5.5e9],
            "energy_pj.dram": [1.4e10, 1.0e10],
            "energy_pj.table": [0.0, 0.0],
        }
    )


def roofline_panel(machine: str) -> RooflinePanel:
    """Return a roof with two ceilings and three layers."""
    points = tuple(
        RooflinePoint(
            layer=f"l{n}", kind="linear", ops_per_byte=10.0**n, ops_per_s=1e9 * n, time_share=n / 10
        )
        for n in (1, 2, 3)
    )
    ceilings = (Ceiling(label="4 x 4 bit", ops_per_s=1e11), Ceiling(label="9 x 4 bit", ops_per_s=5e10))
    return RooflinePanel(machine=machine, ceilings=ceilings, bytes_per_s=1e10, points=points)


def build_run(*, layers: int = 12, steps: int = 4, images: int = 3) -> RunReport:
    """Return a complete run of ``layers`` layers and ``steps`` steps."""
    names = layer_names(layers)
    return RunReport(
        title="digits, hqdm-channel-w4a4",
        subtitle="20 DDIM steps, guidance 2, 8 images, seed 0",
        cards=(
            VerdictCard(
                "Integer against exact",
                "0 mismatches",
                "pass",
                "81,264,640 codes at 214 nodes, 20 steps, 8 images",
            ),
            VerdictCard(
                "Classified as their label", "96.9 %", "info", "integer; float 98.2 %, fake-quant 97.1 %"
            ),
            VerdictCard("Distance to fake-quant", "13.8 dB", "pass", "control 17.4 dB; within 6 dB is asked"),
            VerdictCard(
                "Operand codes, teacher-forced",
                "0.13 %",
                "fail",
                "at most 0.1 % is asked at W4A4; worst layer mid_block.attentions.0.to_q",
            ),
            VerdictCard(
                "Energy per image", "31.2 mJ", "info", "edge-npu-16x16, 348 ms; 4 figures are assumed"
            ),
        ),
        images=tuple(
            ImageStrip(executor, blobs(images, noise, seed), caption)
            for seed, (executor, noise, caption) in enumerate(
                (
                    ("float", 0, "float32, torch"),
                    ("fake-quant", 14, "float32 on the grid"),
                    ("integer", 16, "integers only"),
                )
            )
        ),
        image_labels=tuple(str(index % 10) for index in range(images)),
        step_layers=step_frame(names, steps),
        layers=layer_frame(names),
        totals=totals_frame(),
        rooflines=tuple(roofline_panel(machine) for machine in ("edge-npu-16x16", "tpu-v4i")),
        quality=pd.DataFrame(
            {
                "executor": ["float", "fake-quant", "integer"],
                "classifier_accuracy_percent": [98.2, 97.1, 96.9],
                "frechet_distance": [1.84, 2.61, 2.66],
                "sqnr_db": [np.inf, 15.2, 15.0],
                "psnr_db": [np.inf, 21.7, 21.5],
            }
        ),
        notes=(
            "The first and the last convolution carry 8 bits; together they are 1.3 % of the products.",
            "The accumulator of up_blocks.0.resnets.0.conv1 needs 23 bits, so int32 is safe everywhere.",
            "DRAM traffic of the weights binds 7 layers on edge-npu-16x16; a larger buffer would help them.",
        ),
        manifest={
            "hqsim": "0.1.0",
            "seed": 0,
            "recipe": {"name": "hqdm-channel-w4a4", "order": 3, "signs": True},
            "model": {"name": "digits", "sha256": "9f2c4a" * 10 + "9f2c"},
            "machines": ["edge-npu-16x16", "tpu-v4i"],
        },
    )


@pytest.fixture
def make_run() -> Callable[..., RunReport]:
    """Return the builder of made-up runs."""
    return build_run


@pytest.fixture(scope="session")
def full_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a written small run that has every section."""
    folder = tmp_path_factory.mktemp("report")
    write_report(build_run(layers=5, steps=2, images=1), folder)
    return folder
