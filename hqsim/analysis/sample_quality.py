"""Quality of a quantized model's images: each executor beside the float model, from the same noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.analysis.bootstrap import Measured, picks_of
from hqsim.analysis.features import DigitsExtractor, real_digits
from hqsim.analysis.metrics import NEIGHBOURS
from hqsim.analysis.quality import Judge, accuracy, against_float, evaluate, frechet_to_digits
from hqsim.errors import UnsupportedError

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.quantize import QuantizedModel
    from hqsim.simulate import Samples
    from hqsim.simulate.sampler import Progress, SamplingSettings

FLOAT = "float"
EXECUTORS = ("fakequant", "integer")
DIGITS = ("digits", "digits-dit")
"""Models whose images the embedded classifier knows."""


@dataclass(frozen=True)
class SampleQuality:
    """Images of some executors, judged.

    ``table`` has a row per executor: ``executor``, ``images``, ``sqnr_db`` with its bootstrap interval
    ``sqnr_low_db`` and ``sqnr_high_db``, ``psnr_db`` (against float; infinite for float itself), and for
    models of digits ``classifier_accuracy`` and ``frechet_distance`` on features of the digit classifier.
    ``images`` are the codes uint8 ``[n, c, h, w]`` by executor, and ``labels`` int64 ``[n]``. ``figures``
    float64 ``[1 + resamples]`` holds, as ``figures/EXECUTOR/METRIC``, a figure and its bootstrap draws; runs
    from the same noise share their picks, so that differences of two runs are paired.
    """

    table: pd.DataFrame
    images: Mapping[str, np.ndarray]
    figures: Mapping[str, np.ndarray]


def sample_quality(
    qmodel: QuantizedModel,
    settings: SamplingSettings,
    progress: Progress,
    *,
    executors: Sequence[str] = EXECUTORS,
    reference: Samples | None = None,
) -> SampleQuality:
    """Sample with the float model and with ``executors``, and judge the images.

    ``reference`` are the float model's samples of the same run, where they are known already. The figures
    hold every metric of ``hqsim.analysis.quality`` for models of digits where scikit-learn is installed and
    there are more than three images; otherwise SQNR and PSNR alone.
    """
    samples = {FLOAT: reference or sampled(qmodel, settings, FLOAT, progress)}
    samples |= {name: sampled(qmodel, settings, name, progress) for name in executors}
    return judged(samples, digits=qmodel.model.name in DIGITS)


def judged(samples: Mapping[str, Samples], *, digits: bool, features: bool = True) -> SampleQuality:
    """Judge the images of executors by name, ``float`` among them, all from the same noise.

    Images of ``digits`` are classified. Without ``features`` the figures are SQNR and PSNR alone: the others
    take their features, and a resampling each.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    figures: dict[str, np.ndarray] = {}
    for name, found in samples.items():
        measured = _figures(found, None if name == FLOAT else samples[FLOAT], judged=digits and features)
        row: dict[str, Any] = {"executor": name, "images": len(found.codes), "sqnr_db": np.inf}
        if name != FLOAT:
            row["sqnr_db"] = measured["sqnr_db"].value
            row["sqnr_low_db"], row["sqnr_high_db"] = measured["sqnr_db"].interval
        row["psnr_db"] = measured["psnr_db"].value if name != FLOAT else np.inf
        if digits:
            row["classifier_accuracy"] = accuracy(found.codes, found.labels)
            row["frechet_distance"] = frechet_to_digits(found.codes) if len(found.codes) > 1 else np.nan
        rows.append(row)
        figures |= {
            f"figures/{name}/{metric}": np.concatenate([[figure.value], figure.draws])
            for metric, figure in measured.items()
        }
    images = {name: found.codes for name, found in samples.items()} | {"labels": samples[FLOAT].labels}
    return SampleQuality(pd.DataFrame(rows), images, figures)


def figures_of(arrays: Mapping[str, np.ndarray], executor: str) -> dict[str, Measured]:
    """Return the figures of an executor by metric, from the ``figures`` of :func:`sample_quality`."""
    prefix = f"figures/{executor}/"
    return {
        name.removeprefix(prefix): Measured(float(array[0]), array[1:])
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def sampled(qmodel: QuantizedModel, settings: SamplingSettings, executor: str, progress: Progress) -> Samples:
    """Return the samples of one executor, progress under its name."""
    from hqsim.simulate import simulate

    return simulate(
        qmodel,
        labels=settings.labels,
        executor=executor,
        steps=settings.steps,
        guidance=settings.guidance,
        seed=settings.seed,
        progress=lambda _, done, total: progress(f"sample ({executor})", done, total),
    )


def _figures(found: Samples, reference: Samples | None, *, judged: bool) -> dict[str, Measured]:
    pair = (reference.codes, reference.latents) if reference else None
    judge = _digits_judge() if judged and len(found.codes) > NEIGHBOURS else None
    if judge is not None:
        return evaluate(found.codes, found.latents, found.labels, judge, reference=pair)
    return against_float(found.codes, found.latents, pair, picks_of(len(found.codes))) if pair else {}


@cache
def _digits_judge() -> Judge | None:
    """The real digits; None without scikit-learn, which ships them."""
    try:
        return Judge(real_digits(), DigitsExtractor())
    except UnsupportedError:
        return None
