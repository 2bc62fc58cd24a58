"""The claims of the HQ-DM paper, and verdicts: direction against direction, not figure against figure.

Mao et al., "HQ-DM: Single Hadamard Transformation-Based Quantization-Aware Training for Low-Bit Diffusion
Models", 2025 (arXiv 2512.05746). Its figures stand in ``published_hqdm.csv``: every figure of tables 1 to 4,
an empty value is a dash in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hqsim.analysis.bootstrap import Measured
from hqsim.analysis.quality import METRICS

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED = Path(__file__).with_name("published_hqdm.csv")
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
ABLATION = ("ImageNet, Table 4", "w4a4", (3, 4, 6))
HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "undecided"
NOT_MEASURED = "not measured"
EQUAL = 0.02


class Published:
    """The figures of the paper, by table, method, widths and metric."""

    @cached_property
    def _values(self) -> dict[tuple[str, str, str, str], float]:
        import pandas as pd

        frame = pd.read_csv(PUBLISHED).dropna(subset="value")
        return {
            (row.table, row.method, f"w{row.w_bits}a{row.a_bits}", row.metric): row.value
            for row in frame.itertuples()
        }

    def get(self, table: str, method: str, widths: str, metric: str) -> float | None:
        """Return a published figure, None where the paper has none."""
        return self._values.get((table, method, widths, metric))


@dataclass(frozen=True)
class Subject:
    """What a claim is about: a method at some widths; ``order`` where it is not the method's own."""

    method: str
    widths: str
    order: int | None = None


@dataclass(frozen=True)
class PaperClaim:
    """``ours`` is ``claimed`` ("better", "worse", "equal") than ``theirs`` in a metric of ``METRICS``."""

    claim: str
    published: str
    ours: Subject
    theirs: Subject
    metric: str
    claimed: str


def method_claims(published: Published) -> list[PaperClaim]:
    """Return HQ-DM beside EfficientDM, each width and metric that the paper prints for both."""
    claims = []
    for table, (source, all_widths) in SOURCES.items():
        for widths in all_widths:
            for name, metric in COUNTERPARTS.items():
                ours, theirs = (published.get(table, who, widths, name) for who in ("HQ-DM", "EfficientDM"))
                if ours is None or theirs is None:
                    continue
                claimed = direction(ours, theirs, metric)
                claims.append(
                    PaperClaim(
                        claim=f"HQ-DM against EfficientDM, {width_text(widths)}: {name} {claimed}",
                        published=f"{ours:g} against {theirs:g} ({source})",
                        ours=Subject("hqdm", widths),
                        theirs=Subject("efficientdm", widths),
                        metric=metric,
                        claimed=claimed,
                    )
                )
    return claims


def order_claims(published: Published) -> list[PaperClaim]:
    """Return what the paper's ablation says: of the orders 3 to 6 along width, 5 is the best."""
    source, widths, orders = ABLATION
    claims = []
    for order in orders:
        figures = [published.get("T4", f"HQ-DM(k={k})", widths, "FID") for k in (5, order)]
        claims.append(
            PaperClaim(
                claim=f"k = 5 better than k = {order} (HQ-DM, {width_text(widths)})",
                published=f"FID {figures[0]:g} against {figures[1]:g} ({source})",
                ours=Subject("hqdm", widths, 5),
                theirs=Subject("hqdm", widths, order),
                metric="sqnr_db",
                claimed="better",
            )
        )
    return claims


def comparison(ours: Measured, theirs: Measured, metric: str) -> tuple[str, str]:
    """Return "better", "worse" or "undecided" (zero lies in the interval), and the difference as text."""
    difference = ours.minus(theirs)
    low, high = difference.interval
    decimals = METRICS[metric].decimals
    text = f"{difference.value:+.{decimals}f} ({low:+.{decimals}f} to {high:+.{decimals}f})"
    if low <= 0 <= high:
        return UNDECIDED, text
    return ("better" if (difference.value > 0) == METRICS[metric].higher_is_better else "worse"), text


def direction(ours: float, theirs: float, metric: str) -> str:
    """Return what two published figures claim: "better", "worse" or "equal" (less than 2 % apart)."""
    if abs(ours - theirs) < EQUAL * theirs:
        return "equal"
    return "better" if (ours > theirs) == METRICS[metric].higher_is_better else "worse"


def verdict_of(claimed: str, found: str) -> str:
    """Return the verdict on a claimed direction."""
    if found == UNDECIDED:
        return HOLDS if claimed == "equal" else UNDECIDED
    return HOLDS if claimed == found else FAILS


def convergence(ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[str, str]:
    """Tell from which update on HQ-DM's loss stays below what EfficientDM ends with; and the verdict.

    Both curves have the columns ``update`` and ``loss``.
    """
    mine, other = (smooth_loss(curve["loss"].to_numpy(float)) for curve in (ours, theirs))
    settled = int(np.flatnonzero(np.append(True, mine > other[-1]))[-1])
    if settled == len(mine):
        return f"ends {mine[-1] / other[-1]:.2f} times as high", FAILS
    updates = ours["update"]
    first, last = updates[settled], updates.iloc[-1]
    return f"from update {first:,} of {last:,} on below EfficientDM's last loss", HOLDS


def smooth_loss(losses: np.ndarray) -> np.ndarray:
    """Return the running mean over a fiftieth of the training."""
    from hqsim.report.curves import running_mean

    return running_mean(losses, max(1, len(losses) // 50))


def amplified(crests: Mapping[str, pd.Series]) -> tuple[str, bool]:
    """Tell whether a transform raises the crest factors of layers: of more than half of them.

    ``crests`` are crest factors by layer under two names, before and after the transform, in this order.
    """
    (before_name, before), (_, after) = crests.items()
    after = after.dropna()
    before = before.reindex(after.index)
    raised = int((after > before).sum())
    text = (
        f"crest rises in {raised} of {len(after)} layers; median {before.median():.2f} ({before_name}), "
        f"{after.median():.2f} after"
    )
    return text, raised > len(after) / 2


def width_text(widths: str) -> str:
    """``w4a3`` as ``4/3``."""
    return widths[1:].replace("a", "/")
