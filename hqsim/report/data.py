"""What a report is made of: plain data that the rest of hqsim fills in and the page reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hqsim.errors import InputError

if TYPE_CHECKING:
    from hqsim.report.roofline import RooflinePanel

Status = Literal["pass", "fail", "info"]
Mode = Literal["teacher-forced", "free-running"]

MODES: tuple[str, ...] = get_args(Mode)
STEP_COLUMNS = ("layer", "step", "mode", "sqnr_db")


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
    """Everything that the page shows. An empty frame or tuple leaves its section out.

    Parameters
    ----------
    title, subtitle
        Heading of the page and the line below it.
    cards
        Verdicts, shown first.
    images
        One strip per executor, all with the same number of images.
    image_labels
        One label (the class) per image; may be empty.
    step_layers
        Tidy, one row per (layer, step, mode): ``layer, step, mode, sqnr_db`` and, where known,
        ``timestep, mismatch_percent, max_lsb``. ``mode`` is "teacher-forced" or "free-running".
        An infinite ``sqnr_db`` means identical, NaN means not measured.
    layers
        One row per layer in execution order. Any column is shown. A name that ends in ``[machine]``
        belongs to that machine's view; ``_pj, _s, _bytes, _db, _percent`` at the end of a name (or
        before ``_per_``) are units, which the page scales for reading.
    totals
        One row per machine, its name in ``machine``. Columns ``energy_pj.<part>`` (for example
        ``energy_pj.dram``) make the energy breakdown.
    rooflines
        One panel per machine.
    quality
        One row per executor, metrics as columns.
    notes
        Findings in words.
    manifest
        Versions, seeds, settings, hashes; nested mappings and sequences are allowed.

    Raises
    ------
    InputError
        If a frame lacks a column it needs, a row occurs twice, or the images do not fit together.
    """

    title: str
    subtitle: str = ""
    cards: tuple[VerdictCard, ...] = ()
    images: tuple[ImageStrip, ...] = ()
    image_labels: tuple[str, ...] = ()
    step_layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    totals: pd.DataFrame = field(default_factory=pd.DataFrame)
    rooflines: tuple[RooflinePanel, ...] = ()
    quality: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: tuple[str, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        _check_images(self.images, self.image_labels)
        if not self.step_layers.empty:
            _check_step_layers(self.step_layers)
        if not self.totals.empty and "machine" not in self.totals.columns:
            raise InputError(
                f"totals: column 'machine' is missing, got {_names(self.totals)}; "
                "name each row's machine there."
            )


def _check_images(images: tuple[ImageStrip, ...], labels: tuple[str, ...]) -> None:
    counts = {strip.executor: len(strip.codes) for strip in images}
    if len(counts) != len(images):
        raise InputError(f"images: an executor occurs twice in {[strip.executor for strip in images]}.")
    if len(set(counts.values())) > 1:
        raise InputError(f"images: every executor needs the same number of images, got {counts}.")
    if images and labels and len(labels) != len(images[0].codes):
        raise InputError(f"image_labels: got {len(labels)} labels for {len(images[0].codes)} images.")


def _check_step_layers(frame: pd.DataFrame) -> None:
    missing = [name for name in STEP_COLUMNS if name not in frame.columns]
    if missing:
        raise InputError(
            f"step_layers: missing column(s) {', '.join(missing)}; needed are {', '.join(STEP_COLUMNS)}, "
            f"got {_names(frame)}."
        )
    unknown = sorted({str(mode) for mode in frame["mode"].unique()} - set(MODES))
    if unknown:
        raise InputError(f"step_layers: mode is {unknown[0]!r}, allowed are {', '.join(MODES)}.")
    twice = frame.duplicated(["layer", "step", "mode"])
    if twice.any():
        row = frame[twice].iloc[0]
        raise InputError(
            f"step_layers: layer '{row['layer']}', step {row['step']}, mode '{row['mode']}' occurs more than "
            "once; give one row per layer, step and mode."
        )


def _names(frame: pd.DataFrame) -> str:
    return ", ".join(str(name) for name in frame.columns)
