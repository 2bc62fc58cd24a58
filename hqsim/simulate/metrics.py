"""Streaming measures of how far two results are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass
class Difference:
    """Accumulates over batches: squared signal and error, mismatching codes, the largest step apart."""

    signal: float = 0.0
    error: float = 0.0
    compared: int = 0
    mismatches: int = 0
    max_lsb: int = 0

    def add_values(self, reference: np.ndarray, value: np.ndarray) -> None:
        """Add real values."""
        reference = np.asarray(reference, np.float64)
        self.signal += float(np.square(reference).sum())
        self.error += float(np.square(reference - value).sum())

    def add_codes(self, reference: np.ndarray, codes: np.ndarray) -> None:
        """Add integer codes."""
        apart = np.abs(np.asarray(reference, np.int64) - codes)
        self.compared += apart.size
        self.mismatches += int(np.count_nonzero(apart))
        self.max_lsb = max(self.max_lsb, int(apart.max(initial=0)))

    @property
    def sqnr_db(self) -> float:
        """``10 log10(Σx² / Σ(x - x̂)²)``; infinite when nothing differs."""
        if self.error == 0.0:
            return math.inf
        return -math.inf if self.signal == 0.0 else 10 * math.log10(self.signal / self.error)

    @property
    def mismatch_percent(self) -> float:
        """Share of codes that differ."""
        return 100.0 * self.mismatches / self.compared if self.compared else 0.0


def sqnr_db(reference: np.ndarray, value: np.ndarray) -> float:
    """Return the SQNR of ``value`` against ``reference`` in dB."""
    difference = Difference()
    difference.add_values(reference, value)
    return difference.sqnr_db


def closeness_db(
    reference: np.ndarray, ours: np.ndarray, theirs: np.ndarray, *, resamples: int = 1000
) -> tuple[float, float]:
    """Return by how many dB ``ours`` is closer to ``reference`` than ``theirs`` is, and its standard error.

    Arrays are ``[images, ...]``; the error is the bootstrap's over images: a handful of images decides a
    ratio of error energies, so the figure means little without it.
    """
    axes = tuple(range(1, reference.ndim))
    energy = np.stack([np.square(reference - x).sum(axes) for x in (ours, theirs)])
    picks = np.random.default_rng(0).integers(0, len(reference), (resamples, len(reference)))
    floor = np.finfo(np.float64).tiny
    value_ours, value_theirs = 10 * np.log10(energy.sum(1) + floor)
    drawn_ours, drawn_theirs = 10 * np.log10(energy[:, picks].sum(2) + floor)
    return float(value_theirs - value_ours), float((drawn_theirs - drawn_ours).std())
