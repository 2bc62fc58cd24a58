"""The page's figures: contact sheets, training curves, quality over bit operations."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.methods import plan
from benchmarks.methods.plan import Variant
from benchmarks.methods.results import Results
from benchmarks.methods.tables import tradeoff_points
from benchmarks.methods.units import SHOWN_IMAGES
from hqsim.analysis.claims import smooth_loss, width_text
from hqsim.report import ImageStrip
from hqsim.report.curves import save_curves
from hqsim.report.figures import save_images
from hqsim.report.tradeoff import save_tradeoff

SHEET_METHODS = ("efficientdm", "hqdm", "hqdm-channel")


def save_figures(results: Results, folder: Path) -> dict[str, str]:
    """Write what can be drawn; return file names by figure (absent: not run)."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for width in plan.SHOWN_WIDTHS:
        strips = _strips(results, width)
        if len(strips) > 1:
            name = f"methods-images-{width}.png"
            labels = tuple(str(index % 10) for index in range(SHOWN_IMAGES))
            save_images(strips, labels, folder / name)
            written[f"images_{width}"] = name
    panels = [
        (f"W{width[1]}A{width[3]}", lines)
        for width in plan.SHOWN_WIDTHS
        if (lines := _curves(results, width))
    ]
    if panels:
        name = "methods-training.png"
        save_curves(panels, folder / name, x_label="update", y_label="loss (mean of 2 % of the updates)")
        written["training"] = name
    if points := tuple(tradeoff_points(results).values()):
        name = "methods-tradeoff.png"
        save_tradeoff(
            points,
            folder / name,
            cost_label=f"Gbit-operations per step, {width_text(plan.ABLATION_WIDTH)}",
            quality_label="SQNR against float, same seeds (dB)",
        )
        written["tradeoff"] = name
    return written


def _strips(results: Results, width: str) -> tuple[ImageStrip, ...]:
    cases: list[tuple[str, Variant | None]] = [("float", None)]
    cases += [(method, Variant(method, width, True)) for method in SHEET_METHODS]
    found = ((name, results.image_codes(variant)) for name, variant in cases)
    return tuple(ImageStrip(name, codes) for name, codes in found if codes is not None)


def _curves(results: Results, width: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    lines = {}
    for method in SHEET_METHODS:
        curve = results.curve(Variant(method, width, True))
        if curve is not None:
            lines[method] = (curve["update"].to_numpy(float), smooth_loss(curve["loss"].to_numpy(float)))
    return lines
