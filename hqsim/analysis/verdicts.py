"""The paper's claims, each with the verdict that the runs of a comparison allow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from hqsim.analysis.claims import (
    FAILS,
    HOLDS,
    NOT_MEASURED,
    UNDECIDED,
    PaperClaim,
    Published,
    Subject,
    amplified,
    comparison,
    convergence,
    method_claims,
    order_claims,
    verdict_of,
    width_text,
)
from hqsim.analysis.quality import METRICS
from hqsim.analysis.run_folder import Run
from hqsim.analysis.sample_quality import figures_of

if TYPE_CHECKING:
    import pandas as pd

ABSTRACT = "the paper's abstract"
CURVE_WIDTHS = ("w4a4", "w4a3")


@dataclass(frozen=True)
class Verdict:
    """One line: ``measured`` is the figure, ``detail`` what it rests on."""

    claim: str
    source: str
    measured: str
    verdict: str
    detail: str

    @classmethod
    def missing(cls, claim: str, source: str, why: str) -> Verdict:
        """Return the line of a claim that these runs cannot judge."""
        return cls(claim, source, "", NOT_MEASURED, why)


def judge(runs: Sequence[Run], table: pd.DataFrame, curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a row per claim: ``claim, source, measured, verdict, detail``; the judged ones first.

    Parameters
    ----------
    runs
        The runs of a comparison.
    table
        Its table; of each run the first row is read.
    curves
        Training curves (columns ``update`` and ``loss``) by run, of those that were trained.
    """
    import pandas as pd

    published = Published()
    evidence = _Evidence({run.name: run for run in runs}, table.drop_duplicates("run"))
    verdicts = [
        *_from_outliers(runs),
        *evidence.pairs([*method_claims(published), *order_claims(published)]),
        *evidence.convergence(curves),
    ]
    verdicts.sort(key=lambda verdict: verdict.verdict == NOT_MEASURED)
    return pd.DataFrame([asdict(verdict) for verdict in verdicts])


@dataclass(frozen=True)
class _Evidence:
    runs: Mapping[str, Run]
    table: pd.DataFrame

    def find(self, subject: Subject) -> str | None:
        """Return the run that a claim is about, None when it is not among these."""
        match = re.fullmatch(r"w(\d+)a(\d+)", subject.widths)
        assert match
        rows = self.table
        rows = rows[(rows["weight_bits"] == int(match[1])) & (rows["activation_bits"] == int(match[2]))]
        if subject.order is None:
            rows = rows[rows["method"] == subject.method]
        else:
            single = (rows["transform"] == "single") & (rows["axis"] == "width") & (rows["signs"] == 0)
            rows = rows[single & (rows["symmetric"] == 1) & (rows["order"] == subject.order)]
        return None if rows.empty else str(rows["run"].iloc[0])

    def pairs(self, claims: Iterable[PaperClaim]) -> Iterator[Verdict]:
        """Judge claims about two methods by paired bootstrap differences of their images."""
        for claim in claims:
            names = [self.find(subject) for subject in (claim.ours, claim.theirs)]
            if None in names or names[0] == names[1]:
                absent = " and ".join(_subject_text(s) for s in (claim.ours, claim.theirs))
                yield Verdict.missing(claim.claim, claim.published, f"needs {absent} among the recipes")
                continue
            yield self._pair(claim, *(str(name) for name in names))

    def _pair(self, claim: PaperClaim, ours: str, theirs: str) -> Verdict:
        figures = [figures_of(self.runs[name].arrays, "integer") for name in (ours, theirs)]
        if any(claim.metric not in found for found in figures):
            why = f"the runs hold no '{claim.metric}' of enough images"
            return Verdict.missing(claim.claim, claim.published, why)
        found, text = comparison(figures[0][claim.metric], figures[1][claim.metric], claim.metric)
        title = METRICS[claim.metric].title.format("digits classifier")
        images = int(self.runs[ours].images["labels"].size)
        detail = f"{title}, {ours} less {theirs}, {images} images of the same seeds; "
        detail += self._training(ours, theirs)
        verdict = verdict_of(claim.claimed, found)
        if verdict == UNDECIDED:
            detail += "; zero lies in the 95 % interval: too few images to decide"
        return Verdict(claim.claim, claim.published, text, verdict, detail)

    def _training(self, *names: str) -> str:
        trained = self.table.set_index("run")["trained"]
        if all(trained[name] for name in names):
            return "both trained, another model and budget than the paper's"
        return "calibrated only where the paper trains"

    def convergence(self, curves: Mapping[str, pd.DataFrame]) -> Iterator[Verdict]:
        """Judge the training losses."""
        for widths in CURVE_WIDTHS:
            claim = f"HQ-DM's training loss falls faster than EfficientDM's, {width_text(widths)}"
            source = "the paper's convergence figure"
            names = [self.find(Subject(method, widths)) for method in ("hqdm", "efficientdm")]
            found = [curves[name] for name in names if name is not None and name in curves]
            if len(found) < 2:
                yield Verdict.missing(claim, source, "needs both methods, trained")
                continue
            measured, verdict = convergence(*found)
            yield Verdict(claim, source, measured, verdict, "running means over a fiftieth of the training")


def _from_outliers(runs: Sequence[Run]) -> Iterator[Verdict]:
    """Judge what the abstract says of the single and of the double transform."""
    single = next((run for run in runs if _transformed(run, "single").any()), None)
    claim = "A single Hadamard transform reduces the outliers of activations"
    if single is None or single.activations.empty:
        yield Verdict.missing(claim, ABSTRACT, "needs the outliers of a recipe with a single transform")
    else:
        layers = single.layers["layer"][_transformed(single, "single")]
        crests = single.activations.groupby(["transform", "layer"])["crest"].mean()
        text, raised = amplified({"none": crests["none"], single.name: crests["recipe"].reindex(layers)})
        detail = f"activations of {single.name}, mean over steps, layers with a transform"
        yield Verdict(claim, ABSTRACT, text, FAILS if raised else HOLDS, detail)
    claim = "A double transform amplifies the outliers of weights, which a single one leaves alone"
    weighed = next((run for run in runs if not run.weights.empty), None)
    if weighed is None:
        yield Verdict.missing(claim, ABSTRACT, "needs the outliers of weights")
    else:
        crests = weighed.weights.set_index(["transform", "layer"])["crest"]
        text, raised = amplified({"none": crests["none"], "channel-k5": crests["channel-k5"]})
        detail = "weights of the float model, transformed along channels with k = 5 where that divides"
        yield Verdict(claim, ABSTRACT, text, HOLDS if raised else FAILS, detail)
    claim = "A single transform works with integer convolutions"
    ran = single is not None and not single.quality.empty and "integer" in set(single.quality["executor"])
    if single is None or not ran:
        yield Verdict.missing(claim, ABSTRACT, "needs integer images of a recipe with a single transform")
    else:
        convolutions = int((_transformed(single, "single") & (single.layers["op"] == "conv2d")).sum())
        detail = f"{single.name}: integer products, and the inverse transform in front of them in integers"
        text = f"{convolutions} convolutions with a transform ran"
        yield Verdict(claim, ABSTRACT, text, HOLDS if convolutions else FAILS, detail)


def _transformed(run: Run, kind: str) -> pd.Series:
    """Which rows of a run's layers have a transform of this kind."""
    return run.layers["transform"].str.startswith(kind)


def _subject_text(subject: Subject) -> str:
    name = f"{subject.method}-{subject.widths}"
    return name if subject.order is None else f"{name} with k = {subject.order}"
