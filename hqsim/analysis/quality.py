"""Image quality on the embedded digit classifier: accuracy of the labels, Fréchet distance of features.

The features are those of hqsim's own digit classifier; the distance is never to be read as an "FID".
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hqsim.errors import InputError

if TYPE_CHECKING:
    from hqsim.models.digit_classifier import DigitClassifier

FEATURES = "hqsim digit classifier, 48 features"


def classify(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classifier's features float64 ``[n, 48]`` and its labels int64 ``[n]``.

    Parameters
    ----------
    codes
        Image codes uint8 ``[n, 1, 32, 32]``.
    """
    import torch

    images = torch.from_numpy(codes.astype(np.float32) / 127.5 - 1.0)
    network, _ = _classifier()
    with torch.no_grad():
        features = network.features(images)
        labels = network.head(features).argmax(1)
    return features.double().numpy(), labels.numpy()


def accuracy(codes: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images that the classifier takes for their label."""
    return float((classify(codes)[1] == labels).mean())


def frechet_to_digits(codes: np.ndarray, reference: str = "training") -> float:
    """Return the Fréchet distance of image features to those of real digits.

    Parameters
    ----------
    codes
        Image codes uint8 ``[n, 1, 32, 32]``.
    reference
        ``training`` (1,437 real digits) or ``held_out`` (360).
    """
    _, tensors = _classifier()
    mean, covariance = (tensors[f"reference.{reference}.{part}"] for part in ("mean", "covariance"))
    features, _ = classify(codes)
    return frechet_distance(features.mean(0), np.cov(features, rowvar=False), mean, covariance)


def frechet_distance(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """Return ``|μa - μb|² + tr(Ca + Cb - 2 (Ca^½ Cb Ca^½)^½)`` (Dowson and Landau, 1982).

    Arrays are float64 ``[d]`` and ``[d, d]``.
    """
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ covariance_b @ root)
    overlap = np.sqrt(np.maximum(inner, 0.0)).sum()
    distance = (
        np.square(mean_a - mean_b).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap
    )
    return float(max(distance, 0.0))


def psnr_db(reference: np.ndarray, codes: np.ndarray) -> float:
    """Return the PSNR of image codes (peak 255) in dB; infinite when they are equal."""
    error = np.square(reference.astype(np.float64) - codes).mean()
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


@cache
def _classifier() -> tuple[DigitClassifier, dict[str, np.ndarray]]:
    import torch

    from hqsim import models
    from hqsim.io import read_tensors
    from hqsim.models.digit_classifier import DigitClassifier

    path = Path(models.__file__).parent / "checkpoints" / "digits" / "classifier.safetensors"
    tensors, _ = read_tensors(path)
    prefix = "classifier."
    state = {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in tensors.items()
        if name.startswith(prefix)
    }
    if not state:
        raise InputError(f"{path}: holds no classifier; restore the file of this hqsim")
    network = DigitClassifier()
    network.load_state_dict(state)
    return network.eval(), tensors
