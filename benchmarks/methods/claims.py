"""The paper's claims beside what is measured here: direction against direction, not figure against figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.methods import plan
from benchmarks.methods.plan import Variant
from benchmarks.methods.results import Published, Results
from hqsim.analysis.bootstrap import Measured
from hqsim.analysis.quality import METRICS
from hqsim.report.curves import running_mean

COUNTERPARTS = {
    "IS": "score",
    "FID": "frechet",
    "sFID": "spatial_frechet",
    "Precision": "precision_percent",
    "Recall": "recall_percent",
}
"""The metric here that asks the same question as a published one."""
SOURCES = {
    "T1": ("ImageNet, Table 1", ("w8a8", "w4a8", "w8a4", "w4a4", "w4a3")),
    "T2": ("LSUN-Bedrooms, Table 2", ("w3a4", "w2a4")),
}
NOT_RUN = "not run"
EQUAL = 0.02


@dataclass(frozen=True)
class Claim:
    """One line of the table."""

    claim: str
    published: str
    measured: str
    verdict: str


def comparison(ours: Measured, theirs: Measured, metric: str) -> tuple[str, str]:
    """Return "better", "worse" or "undecided" (zero lies in the interval), and the difference as text."""
    difference = ours.minus(theirs)
    low, high = difference.interval
    decimals = METRICS[metric].decimals
    text = f"{difference.value:+.{decimals}f} ({low:+.{decimals}f} to {high:+.{decimals}f})"
    if low <= 0 <= high:
        return "undecided", text
    return ("better" if (difference.value > 0) == METRICS[metric].higher_is_better else "worse"), text


def direction(ours: float, theirs: float, metric: str) -> str:
    """Return what two published figures claim: "better", "worse" or "equal" (less than 2 % apart)."""
    if abs(ours - theirs) < EQUAL * theirs:
        return "equal"
    return "better" if (ours > theirs) == METRICS[metric].higher_is_better else "worse"


def verdict_of(claimed: str, found: str) -> str:
    """Return the verdict on a claimed direction."""
    if found == "undecided":
        return "holds" if claimed == "equal" else "undecided"
    return "holds" if claimed == found else "does not hold here"


def pair(
    results: Results, ours: Variant, theirs: Variant, metric: str, images: int | None = None
) -> tuple[str, str]:
    """Compare two variants; both texts are "not run" where one is missing."""
    first, second = results.figures(ours, images), results.figures(theirs, images)
    if first is None or second is None:
        return NOT_RUN, NOT_RUN
    return comparison(first[metric], second[metric], metric)


def against_efficientdm(results: Results, published: Published) -> Iterator[Claim]:
    """HQ-DM beside EfficientDM, each width and metric that the paper prints for both."""
    for table, (source, widths) in SOURCES.items():
        for width in widths:
            ours, theirs = Variant("hqdm", width, True), Variant("efficientdm", width, True)
            for name, metric in COUNTERPARTS.items():
                figures = [published.get(table, method, width, name) for method in ("HQ-DM", "EfficientDM")]
                if figures[0] is None or figures[1] is None:
                    continue
                claimed = direction(figures[0], figures[1], metric)
                found, text = pair(results, ours, theirs, metric)
                yield Claim(
                    f"HQ-DM against EfficientDM, {width_text(width)}: {name} {claimed}",
                    f"{figures[0]:g} against {figures[1]:g} ({source})",
                    text,
                    NOT_RUN if found == NOT_RUN else verdict_of(claimed, found),
                )


def order_five(results: Results, published: Published) -> Iterator[Claim]:
    """Of the orders 3 to 6 along width without signs, 5 is the best."""
    variants = {
        transform.order: variant
        for transform, variant in plan.ablation_variants()
        if transform.axis == "width" and not transform.signs
    }
    for order, variant in variants.items():
        if order == 5:
            continue
        figures = [published.get("T4", f"HQ-DM(k={k})", "w4a4", "FID") for k in (5, order)]
        found, text = pair(results, variants[5], variant, "sqnr_db", results.ablation_images)
        yield Claim(
            f"k = 5 better than k = {order} (HQ-DM, 4/4)",
            f"FID {figures[0]:g} against {figures[1]:g} (ImageNet, Table 4)",
            f"SQNR {text} dB" if found != NOT_RUN else NOT_RUN,
            NOT_RUN if found == NOT_RUN else verdict_of("better", found),
        )


def convergence(results: Results) -> Iterator[Claim]:
    """HQ-DM's loss falls faster: updates until it stays below what EfficientDM ends with."""
    for width in plan.SHOWN_WIDTHS:
        curves = [results.curve(Variant(method, width, True)) for method in ("hqdm", "efficientdm")]
        measured, verdict = NOT_RUN, NOT_RUN
        if curves[0] is not None and curves[1] is not None:
            ours, theirs = (smooth_loss(curve["loss"].to_numpy(float)) for curve in curves)
            settled = int(np.flatnonzero(np.append(True, ours > theirs[-1]))[-1])
            measured = f"ends {ours[-1] / theirs[-1]:.2f} times as high"
            verdict = "does not hold here"
            if settled < len(ours):
                updates = curves[0]["update"]
                first, last = updates[settled], updates.iloc[-1]
                measured = f"from update {first:,} of {last:,} on below EfficientDM's last loss"
                verdict = "holds"
        yield Claim(
            f"HQ-DM's training loss falls faster than EfficientDM's, {width_text(width)}",
            "the paper's convergence figure",
            measured,
            verdict,
        )


def own_aim(results: Results) -> Iterator[Claim]:
    """hqdm-channel: better than every other method, with an operand for 8-bit multipliers."""
    for width in plan.SHOWN_WIDTHS:
        ours = Variant("hqdm-channel", width, True)
        bits = results.bits(ours)
        yield Claim(
            f"hqdm-channel's operands fit 8-bit multipliers, {width_text(width)}",
            "our aim",
            f"{bits.multiplier_bits} bits in most products, at most {bits.widest_bits} "
            f"({', '.join(bits.widest_layers[:3])}{' ...' if len(bits.widest_layers) > 3 else ''})",
            "holds" if bits.widest_bits <= 8 else "does not hold here",
        )
        for method in plan.METHODS[:-1]:
            for metric in ("sqnr_db", "frechet"):
                theirs = Variant(method, width, method in plan.TRAINED)
                found, text = pair(results, ours, theirs, metric)
                yield Claim(
                    f"hqdm-channel better than {method}, {width_text(width)}: {short_name(metric)}",
                    "our aim",
                    text,
                    NOT_RUN if found == NOT_RUN else verdict_of("better", found),
                )


def smooth_loss(losses: np.ndarray) -> np.ndarray:
    """Return the running mean over a fiftieth of the training."""
    return running_mean(losses, max(1, len(losses) // 50))


def short_name(metric: str) -> str:
    """``SQNR``, ``Fréchet``: a metric's name before the brackets."""
    return METRICS[metric].title.partition(" against")[0].partition(" (")[0]


def width_text(widths: str) -> str:
    """``w4a3`` as ``4/3``."""
    return widths[1:].replace("a", "/")
