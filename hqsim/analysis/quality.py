"""Image quality: sets of images judged against real ones, and against the float model's from the same seeds.

Same-seed SQNR and PSNR are the primary measures: they need no features, and a difference of methods shows in
them with few images. What rests on features bears the extractor's name; those of the embedded digit
classifier are never to be read as an "FID".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hqsim.analysis.bootstrap import RESAMPLES, Measured, measure, picks_of
from hqsim.analysis.features import DigitsExtractor, Extractor, Features, digit_classifier
from hqsim.analysis.metrics import Manifold, Moments, decibel, frechet_distance, inception_score
from hqsim.errors import InputError

FEATURES = "hqsim digit classifier, 48 features"


@dataclass(frozen=True)
class Metric:
    """How a figure is called (``{}``: the extractor), which end is good, its decimals, and its limits."""

    title: str
    higher_is_better: bool
    decimals: int
    limits: tuple[float, float] = (-math.inf, math.inf)

    def interval(self, figure: Measured) -> tuple[float, float]:
        """Return the figure's interval, cut at what the metric can be."""
        low, high = figure.interval
        return max(low, self.limits[0]), min(high, self.limits[1])


METRICS = {
    "sqnr_db": Metric("SQNR against float, same seeds (dB)", True, 2),
    "psnr_db": Metric("PSNR against float, same seeds (dB)", True, 2),
    "accuracy_percent": Metric("classified as their label ({}) (%)", True, 1, (0.0, 100.0)),
    "score": Metric("Inception-style score ({})", True, 2, (1.0, math.inf)),
    "frechet": Metric("Fréchet ({})", False, 2, (0.0, math.inf)),
    "spatial_frechet": Metric("spatial Fréchet ({})", False, 2, (0.0, math.inf)),
    "precision_percent": Metric("precision ({}) (%)", True, 1, (0.0, 100.0)),
    "recall_percent": Metric("recall ({}) (%)", True, 1, (0.0, 100.0)),
}


class Judge:
    """Real images, seen through an extractor once: their moments and their manifold."""

    def __init__(self, real: np.ndarray, extractor: Extractor) -> None:
        self.extractor = extractor
        self.features = extractor(real)
        self.pooled = Moments.of(self.features.pooled)
        self.spatial = Moments.of(self.features.spatial)
        self.manifold = Manifold(self.features.pooled)


def evaluate(
    codes: np.ndarray,
    latents: np.ndarray,
    labels: np.ndarray,
    judge: Judge,
    *,
    reference: tuple[np.ndarray, np.ndarray] | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Measured]:
    """Return every figure of ``METRICS`` with its bootstrap.

    Parameters
    ----------
    codes, latents, labels
        The images uint8 ``[n, c, h, w]``, their real values, and the classes that were asked for (judged
        where the extractor's classes are the labels).
    judge
        The real images.
    reference
        Codes and latents of the float model from the same noise; without it (the float model itself) SQNR
        and PSNR are left out.

    Raises
    ------
    InputError
        When the sets do not belong together.
    """
    features = judge.extractor(codes)
    picks = picks_of(len(codes), resamples=resamples)
    figures = against_float(codes, latents, reference, picks) if reference else {}
    if judge.extractor.knows_labels:
        right = 100.0 * (features.probabilities.argmax(1) == labels)
        figures["accuracy_percent"] = measure(lambda pick: float(right[pick].mean()), picks)
    return {
        **figures,
        "score": measure(lambda pick: inception_score(features.probabilities[pick]), picks),
        "frechet": measure(
            lambda pick: frechet_distance(judge.pooled, Moments.of(features.pooled[pick])), picks
        ),
        "spatial_frechet": measure(
            lambda pick: frechet_distance(judge.spatial, Moments.of(features.spatial[pick])), picks
        ),
        **_precision_and_recall(features, judge, picks),
    }


def against_float(
    codes: np.ndarray, latents: np.ndarray, reference: tuple[np.ndarray, np.ndarray], picks: np.ndarray
) -> dict[str, Measured]:
    """Return ``sqnr_db`` and ``psnr_db`` against the float model's ``reference``, as in :func:`evaluate`."""
    float_codes, float_latents = reference
    if float_codes.shape != codes.shape or float_latents.shape != latents.shape:
        raise InputError(
            f"images: got {list(codes.shape)}, the float model's are {list(float_codes.shape)}; sample both "
            "with the same labels and seeds"
        )
    axes = tuple(range(1, codes.ndim))
    signal = np.square(float_latents).sum(axes)
    error = np.square(float_latents - latents).sum(axes)
    pixel_error = np.square(float_codes.astype(np.float64) - codes).mean(axes)
    return {
        "sqnr_db": measure(lambda pick: decibel(signal[pick].sum(), error[pick].sum()), picks),
        "psnr_db": measure(lambda pick: decibel(255.0**2, pixel_error[pick].mean()), picks),
    }


def _precision_and_recall(features: Features, judge: Judge, picks: np.ndarray) -> dict[str, Measured]:
    """Draws leave the balls as they are: an image that a draw holds twice would shrink its own to nothing."""
    inside = np.asarray(judge.manifold.coverage(features.pooled).any(1))
    covering = Manifold(features.pooled).coverage(judge.features.pooled)
    return {
        "precision_percent": measure(lambda pick: float(100.0 * inside[pick].mean()), picks),
        "recall_percent": measure(lambda pick: float(100.0 * covering[:, pick].any(1).mean()), picks),
    }


def accuracy(codes: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of digits ``[n, 1, 32, 32]`` that the classifier takes for their label."""
    return float((DigitsExtractor()(codes).probabilities.argmax(1) == labels).mean())


def frechet_to_digits(codes: np.ndarray, reference: str = "training") -> float:
    """Return the Fréchet distance of image features to those of real digits (kept with the classifier).

    Parameters
    ----------
    codes
        Image codes uint8 ``[n, 1, 32, 32]``.
    reference
        ``training`` (1,437 real digits) or ``held_out`` (360).
    """
    _, tensors = digit_classifier()
    mean, covariance = (tensors[f"reference.{reference}.{part}"] for part in ("mean", "covariance"))
    return frechet_distance(Moments(mean, covariance), Moments.of(DigitsExtractor()(codes).pooled))
