"""Bootstrap intervals over seeds: how far a figure moves when other images of the same model are drawn.

Every image has a noise of its own, so resampling images is resampling seeds. Sets of equal size share their
picks: differences of two models that started from the same noise are paired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RESAMPLES = 500
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Measured:
    """A figure and its bootstrap draws float64 ``[resamples]``.

    The interval is that of the draws' spread around their own median, put around the figure. The plain
    percentile interval would not hold a Fréchet distance at all: it grows when fewer distinct images carry
    it, in every draw.
    """

    value: float
    draws: np.ndarray

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval (low, high)."""
        centred = self.draws - np.median(self.draws)
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(centred, (tail, 1 - tail))
        return self.value + float(low), self.value + float(high)

    def minus(self, other: Measured) -> Measured:
        """Return the difference of two figures over the same picks."""
        return Measured(self.value - other.value, self.draws - other.draws)


def picks_of(count: int, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return the images of every resample, int64 ``[resamples, count]``, drawn with replacement."""
    return np.random.default_rng(seed).integers(0, count, (resamples, count))


def measure(figure: Callable[[np.ndarray], float], picks: np.ndarray) -> Measured:
    """Evaluate ``figure(indices of images)`` on all images and on every resample."""
    everything = np.arange(picks.shape[1])
    return Measured(figure(everything), np.array([figure(pick) for pick in picks]))
