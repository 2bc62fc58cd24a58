"""What a page is made of: plain data that the rest of hqsim fills in and the page reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hqsim.errors import InputError
from hqsim.report.details import LayerDetail
from hqsim.report.grid import Grid
from hqsim.report.lines import LineChart
from hqsim.report.roofline import RooflinePanel
from hqsim.report.timeline import Timeline
from hqsim.report.tradeoff import Tradeoff

Status = Literal["pass", "fail", "info"]


@dataclass(frozen=True)
class VerdictCard:
    """One checked claim: ``value`` is the figure in large type, ``detail`` the sentence below it."""

    title: str
    value: str
    status: Status
    detail: str = ""

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise InputError(
                f"verdict card '{self.title}': status is '{self.status}', "
                f"allowed are {', '.join(get_args(Status))}."
            )


@dataclass(frozen=True)
class Finding:
    """One thing to know about a run: what was found, why it matters or happens, what to try.

    ``rule`` names the rule that found it, ``layers`` the layers it is about (may be empty).
    """

    rule: str
    text: str
    reason: str
    suggestion: str
    layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A question about a comparison, its answer in a sentence, and what the answer rests on."""

    question: str
    answer: str
    grounds: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ImageStrip:
    """Images of one executor, in the same order (and from the same noise) as every other strip.

    Parameters
    ----------
    executor
        "float", "fake-quant", "integer" or any other name for the row.
    codes
        uint8 pixels, ``[n, h, w]`` for grey or ``[n, h, w, 3]`` for colour.
    caption
        A few words under the name of the row.

    Raises
    ------
    InputError
        If ``codes`` has another dtype or shape.
    """

    executor: str
    codes: NDArray[np.uint8]
    caption: str = ""

    def __post_init__(self) -> None:
        shape, dtype = self.codes.shape, self.codes.dtype
        grey = len(shape) == 3
        colour = len(shape) == 4 and shape[-1] == 3
        if dtype != np.uint8 or not (grey or colour) or 0 in shape:
            raise InputError(
                f"images of executor '{self.executor}': got {dtype} {list(shape)}, "
                "allowed is uint8 [n, h, w] or [n, h, w, 3] without an empty axis."
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class RunReport:
    """Everything that the page shows of one run. What is empty leaves its section out.

    Parameters
    ----------
    name, subtitle
        Name of the run, unlike every other's on the page, and a line about it.
    cards
        Verdicts, shown first.
    findings
        Findings in words, the most important first.
    images, image_labels
        One strip per executor, all with the same number of images; one label per image, or none.
    grids
        Figures by layer and step, drawn as heatmaps.
    shares
        ``layer, share_percent``: what each layer adds to the final error, in execution order.
    curves
        Figures along the trajectory.
    layers
        One row per layer in execution order, its name in ``layer``. Any column is shown. A name that ends in
        ``[machine]`` belongs to that machine's view; ``_pj, _s, _bytes, _db, _percent`` at the end of a name
        (or before ``_per_``) are units, which the page scales for reading.
    details
        Distributions of a layer's operands and weight, by layer.
    totals
        One row per machine, its name in ``machine``. Columns ``energy_pj.<part>`` (for example
        ``energy_pj.dram``) make the energy breakdown.
    rooflines, timelines
        One per machine.
    quality
        One row per executor, metrics as columns.
    tables
        Further tables by name, written as CSV beside those above.
    manifest
        Versions, seeds, settings, hashes; nested mappings and sequences are allowed.

    Raises
    ------
    InputError
        If a frame lacks a column it needs, or the images do not fit together.
    """

    name: str
    subtitle: str = ""
    cards: tuple[VerdictCard, ...] = ()
    findings: tuple[Finding, ...] = ()
    images: tuple[ImageStrip, ...] = ()
    image_labels: tuple[str, ...] = ()
    grids: tuple[Grid, ...] = ()
    shares: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: tuple[LineChart, ...] = ()
    layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    details: Mapping[str, LayerDetail] = field(default_factory=lambda: MappingProxyType({}))
    totals: pd.DataFrame = field(default_factory=pd.DataFrame)
    rooflines: tuple[RooflinePanel, ...] = ()
    timelines: tuple[Timeline, ...] = ()
    quality: pd.DataFrame = field(default_factory=pd.DataFrame)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=lambda: MappingProxyType({}))
    manifest: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        _check_images(self.images, self.image_labels)
        for name, column in (("totals", "machine"), ("layers", "layer"), ("shares", "share_percent")):
            frame: pd.DataFrame = getattr(self, name)
            if not frame.empty and column not in frame.columns:
                got = ", ".join(str(found) for found in frame.columns)
                raise InputError(f"{name} of run '{self.name}': column '{column}' is missing, got {got}.")


@dataclass(frozen=True, eq=False, kw_only=True)
class ComparisonReport:
    """What a page of several runs shows before it shows each of them.

    ``table`` has one row per run and machine; ``view`` is the same to read, one row per run, the columns of
    machines named as those of ``RunReport.layers``; ``views`` are its columns by tab, ``run`` the first of
    each; ``common`` says what all runs share. ``claims`` has one
    row per claim (``claim, source, measured, verdict, detail``), ``left_out`` what was asked for and is not
    in the table, with the reason; ``tradeoffs`` are quality over cost, ``images`` one strip per run from the
    same noise.
    """

    answers: tuple[Answer, ...] = ()
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    view: pd.DataFrame = field(default_factory=pd.DataFrame)
    views: Mapping[str, Sequence[str]] = field(default_factory=lambda: MappingProxyType({}))
    common: str = ""
    claims: pd.DataFrame = field(default_factory=pd.DataFrame)
    left_out: pd.DataFrame = field(default_factory=pd.DataFrame)
    tradeoffs: tuple[Tradeoff, ...] = ()
    images: tuple[ImageStrip, ...] = ()
    image_labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_images(self.images, self.image_labels)


@dataclass(frozen=True, eq=False, kw_only=True)
class Page:
    """The page: its heading, its runs (at least one), and what compares them.

    Raises
    ------
    InputError
        Without a run, or when two have the same name.
    """

    title: str
    subtitle: str = ""
    runs: tuple[RunReport, ...]
    comparison: ComparisonReport | None = None

    def __post_init__(self) -> None:
        names = [run.name for run in self.runs]
        if not names or len(set(names)) < len(names):
            raise InputError(f"runs of the page: got {names}; give at least one, each under its own name.")


def _check_images(images: tuple[ImageStrip, ...], labels: tuple[str, ...]) -> None:
    counts = {strip.executor: len(strip.codes) for strip in images}
    if len(counts) != len(images):
        raise InputError(f"images: an executor occurs twice in {[strip.executor for strip in images]}.")
    if len(set(counts.values())) > 1:
        raise InputError(f"images: every executor needs the same number of images, got {counts}.")
    if images and labels and len(labels) != len(images[0].codes):
        raise InputError(f"image_labels: got {len(labels)} labels for {len(images[0].codes)} images.")
