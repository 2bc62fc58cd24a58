"""Measures of sets of images on features: Fréchet distance, Inception-style score, precision and recall.

Plain numpy; what the features are, and therefore what a figure may be called, is ``features.py``'s business.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

NEIGHBOURS = 3


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean float64 ``[d]`` and covariance ``[d, d]`` of a set of features."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Return the moments of features ``[n, d]`` (the covariance with ``n - 1``)."""
        return cls(features.mean(0), np.atleast_2d(np.cov(features, rowvar=False)))

    @cached_property
    def root(self) -> np.ndarray:
        """The covariance's symmetric square root."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def frechet_distance(reference: Moments, other: Moments) -> float:
    """Return ``|μa - μb|² + tr(Ca + Cb - 2 (Ca^½ Cb Ca^½)^½)`` (Dowson and Landau, 1982).

    It is symmetric; the root of the first covariance is kept for the next distance to it.
    """
    inner = np.linalg.eigvalsh(reference.root @ other.covariance @ reference.root)
    overlap = np.sqrt(np.maximum(inner, 0.0)).sum()
    shift = np.square(reference.mean - other.mean).sum()
    distance = shift + np.trace(reference.covariance) + np.trace(other.covariance) - 2 * overlap
    return float(max(distance, 0.0))


def inception_score(probabilities: np.ndarray) -> float:
    """Return ``exp(mean_i KL(p_i || mean p))`` of probabilities ``[n, classes]`` (Salimans et al., 2016).

    From 1 (every image the same) to the number of classes (all sure, all classes alike). One split.
    """
    floor = np.finfo(np.float64).tiny
    mean = probabilities.mean(0, keepdims=True)
    divergence = probabilities * (np.log(probabilities + floor) - np.log(mean + floor))
    return math.exp(divergence.sum(1).mean())


class Manifold:
    """A set of points and, around each, the ball that reaches its k-th nearest neighbour (itself left out).

    Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", 2019: a
    sample belongs to the manifold when it lies in at least one ball. Precision is the share of generated
    images in the manifold of the real ones, recall the share of real images in that of the generated.

    Parameters
    ----------
    points
        Features ``[n, d]``, more than ``neighbours`` of them.
    """

    def __init__(self, points: np.ndarray, neighbours: int = NEIGHBOURS) -> None:
        if len(points) <= neighbours:
            raise ValueError(f"a manifold of {neighbours} neighbours needs more points than {len(points)}")
        self.points = points
        among = squared_distances(points, points)
        np.fill_diagonal(among, 0.0)
        self.radii_squared = np.partition(among, neighbours, axis=1)[:, neighbours]

    def __len__(self) -> int:
        return len(self.points)

    def coverage(self, samples: np.ndarray) -> np.ndarray:
        """Return bool ``[samples, points]``: which point's ball holds which sample."""
        return squared_distances(samples, self.points) <= self.radii_squared


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``|a_i - b_j|²`` float64 ``[len(a), len(b)]``."""
    products = a @ b.T
    distances = np.square(a).sum(1)[:, None] - 2 * products + np.square(b).sum(1)
    return np.maximum(distances, 0.0)


def decibel(signal: float, error: float) -> float:
    """Return ``10 log10(signal / error)`` of two energies; infinite without an error."""
    return math.inf if error == 0 else 10 * math.log10(signal / error)


def psnr_db(reference: np.ndarray, codes: np.ndarray) -> float:
    """Return the PSNR of image codes (peak 255) in dB; infinite when they are equal."""
    return decibel(255.0**2, np.square(reference.astype(np.float64) - codes).mean())
