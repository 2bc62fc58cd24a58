"""A made-up run with the shape of a real one: a UNet's layers, DDIM steps, two machines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from hqsim.report import (
    Answer,
    ComparisonReport,
    Finding,
    ImageStrip,
    Page,
    RunReport,
    VerdictCard,
    write_report,
)
from hqsim.report.details import Histogram, LayerDetail, Profile
from hqsim.report.grid import grid_of
from hqsim.report.lines import LineChart
from hqsim.report.roofline import Ceiling, RooflinePanel, RooflinePoint
from hqsim.report.timeline import Span, Timeline
from hqsim.report.tradeoff import Point, Tradeoff

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


def timeline(machine: str, names: list[str]) -> Timeline:
    """Return layers of a millisecond each that keep the matrix unit busy for half of it."""
    spans = tuple(
        Span(
            layer=name, kind="linear", bound_by="dram", start_s=1e-3 * index, length_s=1e-3,
            busy_s=(0.5e-3, 1e-3),
        )
        for index, name in enumerate(names)
    )  # fmt: skip
    return Timeline(machine=machine, engines=("matrix", "dram"), spans=spans)


def detail(seed: int) -> LayerDetail:
    """Return a bell before and after, a channel that stands out before, and two rows of statistics."""
    random = np.random.default_rng(seed)
    edges = np.linspace(-8, 8, 65)
    values = random.normal(size=4000)
    counts = {"none": np.histogram(values**3, edges)[0], "recipe": np.histogram(values, edges)[0]}
    maxima = random.uniform(1, 2, 96).astype(np.float32)
    maxima[17] = 30
    return LayerDetail(
        histograms=tuple(
            Histogram(operand="activation", transform=name, counts=count.astype(np.int64), edges=edges)
            for name, count in counts.items()
        ),
        profiles=(Profile(operand="activation", transform="none", axis="channel", maxima=maxima),),
        outliers=pd.DataFrame(
            {"operand": ["activation"] * 2, "transform": ["none", "recipe"], "crest": [30.0, 4.1]}
        ),
    )


def grids(names: list[str], steps: int):
    """Return heatmaps of both modes."""
    frame = step_frame(names, steps)
    return tuple(
        grid_of(
            frame[frame["mode"] == mode], "sqnr_db", name=mode, title=f"SQNR, {mode}", unit="dB",
            table="errors", order=names,
        )
        for mode in ("teacher-forced", "free-running")
    )  # fmt: skip


def build_run(*, layers: int = 12, steps: int = 4, images: int = 3) -> RunReport:
    """Return a complete run of ``layers`` layers and ``steps`` steps."""
    names = layer_names(layers)
    return RunReport(
        name="hqdm-channel-w4a4",
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
        grids=grids(names, steps),
        shares=pd.DataFrame({"layer": names, "share_percent": np.linspace(1, 30, len(names))}),
        curves=(
            LineChart(
                name="growth",
                title="Growth",
                table="growth",
                x_label="step",
                y_label="SQNR [dB]",
                x=np.arange(steps, dtype=np.float64),
                lines={"sample": np.linspace(30, 9, steps)},
            ),
        ),
        layers=layer_frame(names),
        details={name: detail(index) for index, name in enumerate(names)},
        tables={"errors": step_frame(names, steps)},
        totals=totals_frame(),
        rooflines=tuple(roofline_panel(machine) for machine in ("edge-npu-16x16", "tpu-v4i")),
        timelines=tuple(timeline(machine, names) for machine in ("edge-npu-16x16", "tpu-v4i")),
        quality=pd.DataFrame(
            {
                "executor": ["float", "fake-quant", "integer"],
                "classifier_accuracy_percent": [98.2, 97.1, 96.9],
                "frechet_distance": [1.84, 2.61, 2.66],
                "sqnr_db": [np.inf, 15.2, 15.0],
                "psnr_db": [np.inf, 21.7, 21.5],
            }
        ),
        findings=(
            Finding(
                "accumulator",
                "One accumulator needs 34 bits.",
                "Its sums can reach 2^33.",
                "Cut the sum in two.",
                (names[-1],),
            ),
        ),
        manifest={
            "hqsim": "0.1.0",
            "seed": 0,
            "recipe": {"name": "hqdm-channel-w4a4", "order": 3, "signs": True},
            "model": {"name": "digits", "sha256": "9f2c4a" * 10 + "9f2c"},
            "machines": ["edge-npu-16x16", "tpu-v4i"],
        },
    )


def page_of(*runs: RunReport) -> Page:
    """Return a page of ``runs``, compared where there are several."""
    comparison = None
    if len(runs) > 1:
        points = tuple(
            Point(label=run.name, group=run.name, cost=1e9 * (at + 1), quality=9.0 + at, low=8.0, high=11.0)
            for at, run in enumerate(runs)
        )
        names = [run.name for run in runs]
        comparison = ComparisonReport(
            answers=(Answer("Which method is best?", f"{runs[-1].name} is best.", ("by 1 dB",)),),
            table=pd.DataFrame({"run": names, "sqnr_db": 9.0, "machine": "edge", "energy_pj": 1e9}),
            view=pd.DataFrame({"run": names, "sqnr_db": range(len(runs)), "energy_pj[edge]": 1e9}),
            views={"quality": ["run", "sqnr_db"], "edge": ["run", "sqnr_db", "energy_pj[edge]"]},
            common="order 5",
            claims=pd.DataFrame({"claim": ["fewer outliers"], "verdict": ["holds"], "detail": ["in 7 of 9"]}),
            tradeoffs=(
                Tradeoff(
                    name="quality-energy-edge", title="edge", cost_label="energy per image", unit="pj",
                    quality_label="SQNR [dB]", points=points,
                ),
            ),
            images=tuple(ImageStrip(run.name, blobs(2, 3, 1)) for run in runs),
        )  # fmt: skip
    return Page(title="digits", subtitle="two machines", runs=runs, comparison=comparison)


@pytest.fixture
def make_run() -> Callable[..., RunReport]:
    """Return the builder of made-up runs."""
    return build_run


@pytest.fixture
def make_page() -> Callable[..., Page]:
    """Return the builder of pages of runs."""
    return page_of


@pytest.fixture(scope="session")
def full_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a written small run that has every section."""
    folder = tmp_path_factory.mktemp("report")
    run = build_run(layers=5, steps=2, images=1)
    first = dict(list(run.details.items())[-1:])
    write_report(page_of(replace(run, details=first, timelines=run.timelines[:1])), folder)
    return folder
