"""Statistics of a tensor that arrives in parts, and of which nothing but these statistics is kept.

Moments merge exactly (Chan, Golub and LeVeque, 1979; Pébay, "Formulas for robust, one-pass parallel
computation of covariances and arbitrary-order statistical moments", 2008); the largest magnitude and the
number of zeros are exact. Percentiles, the share of the energy and the SQNR come from a histogram of fixed
bins: a bin holds the float32 values that share sign, exponent and the first 6 bits of the mantissa, so it is
at most 1/64 of its values wide, whatever their scale, and histograms add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np

from hqsim.errors import NumericsError

MANTISSA_BITS = 6
RELATIVE_WIDTH = 2.0**-MANTISSA_BITS
"""Width of a bin beside the values in it, at most: the error of a percentile."""
_SHIFT = 23 - MANTISSA_BITS
_SIDE = 0xFF << MANTISSA_BITS
"""Bins of the finite values of one sign."""
_BLOCK = 1 << 18
"""Values that one pass looks at: with their temporaries they stay in the cache of a core."""
_FLAT = 2.0**-10
"""Magnitudes below this part of the rms are one bin to the SQNR: their energy is 60 dB down at most."""
_COARSE = 2.0 ** (0.25 - np.arange(25) / 2)
"""Clips beside the largest magnitude; a larger one puts that value on the last code of few."""
_FINE = 2.0 ** (np.arange(-8, 9) / 16)


@dataclass(frozen=True)
class Moments:
    """Number of values, their mean, and the sums of the 2nd, 3rd and 4th powers of what is left of it."""

    count: int = 0
    mean: float = 0.0
    second: float = 0.0
    third: float = 0.0
    fourth: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Return the moments of a flat array, in float64."""
        x = values.astype(np.float64)
        mean = float(x.mean())
        x -= mean
        squares = np.square(x)
        third, fourth = (float(np.einsum("i,i->", squares, other)) for other in (x, squares))
        return cls(x.size, mean, float(squares.sum()), third, fourth)

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both samples together (Pébay 2008, equations 2.1 and 3.1)."""
        n = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        a, b, delta = self.count / n, other.count / n, other.mean - self.mean
        product = self.count * b
        return Moments(
            n,
            self.mean + b * delta,
            self.second + other.second + product * delta**2,
            self.third
            + other.third
            + product * (a - b) * delta**3
            + 3 * delta * (a * other.second - b * self.second),
            self.fourth
            + other.fourth
            + product * (a**2 - a * b + b**2) * delta**4
            + 6 * delta**2 * (a**2 * other.second + b**2 * self.second)
            + 4 * delta * (a * other.third - b * self.third),
        )

    @property
    def energy(self) -> float:
        """Sum of the squares of the values themselves."""
        return self.second + self.count * self.mean**2

    @property
    def kurtosis(self) -> float:
        """``n Σd⁴ / (Σd²)²``: 3 for a normal distribution, NaN for a constant."""
        return self.count * self.fourth / self.second**2 if self.second else float("nan")


@dataclass
class Statistics:
    """What is known of the values added so far."""

    moments: Moments = field(default_factory=Moments)
    counts: np.ndarray = field(default_factory=lambda: np.zeros(2 * _SIDE, np.int64))
    zeros: int = 0
    absolute_maximum: float = 0.0

    def add(self, values: np.ndarray) -> None:
        """Add float32 values of any shape.

        Raises
        ------
        NumericsError
            When one is not finite; nothing is added then.
        """
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        largest = float(max(flat.max(), -flat.min()))
        if not np.isfinite(largest):
            raise NumericsError(f"statistics are those of finite values, got {largest}")
        self.absolute_maximum = max(self.absolute_maximum, largest)
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            self.moments += Moments.of(block)
            self.zeros += block.size - int(np.count_nonzero(block))
            bits = block.view(np.int32)
            # Negative floats fall as their bits rise: flipped, all bits are in the order of the values.
            ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)) >> _SHIFT
            self.counts += np.bincount(ordered + _SIDE, minlength=2 * _SIDE)

    def merge(self, other: Statistics) -> None:
        """Add what another part of the values has given."""
        self.moments += other.moments
        self.counts += other.counts
        self.zeros += other.zeros
        self.absolute_maximum = max(self.absolute_maximum, other.absolute_maximum)

    @property
    def rms(self) -> float:
        """Root of the mean square."""
        return float(np.sqrt(self.moments.energy / self.moments.count))

    @property
    def crest(self) -> float:
        """Largest magnitude over the rms, NaN when all values are 0."""
        return self.absolute_maximum / self.rms if self.rms else float("nan")

    @property
    def zero_percent(self) -> float:
        """Share of the values that are exactly 0."""
        return 100.0 * self.zeros / self.moments.count

    def percentile(self, percent: float) -> float:
        """Return the smallest magnitude that ``percent`` of the magnitudes do not exceed.

        The error is at most 1/64 of it: the histogram knows the bin, the place in the bin is interpolated.
        """
        counts = self._magnitudes()
        below = np.cumsum(counts)
        rank = max(int(np.ceil(percent / 100.0 * self.moments.count - 1e-9)), 1)
        at = int(np.searchsorted(below, rank))
        low, high = _edges()[_SIDE + at : _SIDE + at + 2]
        inside = (rank - (below[at] - counts[at]) - 0.5) / counts[at]
        return float(min(low + inside * (high - low), self.absolute_maximum))

    def top_energy_percent(self, percent: float = 0.1) -> float:
        """Return the share of the energy that the largest ``percent`` of the magnitudes hold, in percent.

        At least one value is looked at. The relative error is at most 1/16, that of two bins' energies.
        """
        counts = self._magnitudes()
        low, high = _edges()[_SIDE:-1], _edges()[_SIDE + 1 :]
        energy = counts * (low**2 + low * high + high**2) / 3.0
        wanted = max(int(np.ceil(percent / 100.0 * self.moments.count - 1e-9)), 1)
        above = np.cumsum(counts[::-1])[::-1] - counts
        taken = np.clip(wanted - above, 0, counts)
        filled = counts > 0
        part = float((energy[filled] * taken[filled] / counts[filled]).sum())
        whole = float(energy[filled].sum())
        return 100.0 * part / whole if self.moments.energy else float("nan")

    def sqnr_db(self, widths: Sequence[int]) -> list[float]:
        """Return for each width the SQNR of symmetric codes under the clip of least squared error.

        Codes of ``b`` bits are ``[-2^(b-1), 2^(b-1)-1]`` as those of operands. Clips are searched on the
        histogram, half an octave apart and then 1/16, over 12 octaves below the largest magnitude; values are
        taken as spread evenly in their bin. Infinite when all values are 0.
        """
        if not self.moments.energy:
            return [float("inf")] * len(widths)
        edges, weights = self._coarsened()
        found = []
        for bits in widths:
            noise = partial(_clip_noise, edges, weights, self.absolute_maximum, (1 << (bits - 1)) - 1)
            best = _COARSE[np.argmin(noise(_COARSE))]
            found.append(float(10.0 * np.log10(self.moments.energy / noise(best * _FINE).min())))
        return found

    def in_units_of_rms(self, edges: np.ndarray) -> np.ndarray:
        """Return int64 counts of value/rms between ``edges``; what lies outside belongs to the end bins.

        A fixed bin that an edge cuts is shared out in proportion.
        """
        total = self.moments.count
        if not self.rms:
            counts = np.zeros(len(edges) - 1, np.int64)
            counts[np.searchsorted(edges, 0.0, side="right") - 1] = total
            return counts
        below = np.concatenate([[0], np.cumsum(self.counts)])
        cut = np.rint(np.interp(edges * self.rms, _edges(), below)).astype(np.int64)
        cut[0], cut[-1] = 0, total
        return np.diff(cut)

    def _magnitudes(self) -> np.ndarray:
        return np.asarray(self.counts[_SIDE:] + self.counts[:_SIDE][::-1])

    def _coarsened(self) -> tuple[np.ndarray, np.ndarray]:
        """Edges of the filled bins, and what the integral up to each edge counts in the sum over all values.

        A bin counts its values over its width at its upper edge, and less that at its lower one.
        """
        filled = np.flatnonzero(self.counts)
        counts, low, high = self.counts[filled].astype(np.float64), _edges()[filled], _edges()[filled + 1]
        flat = _FLAT * self.rms
        small = np.maximum(-low, high) < flat
        if small.any():
            counts = np.append(counts[~small], counts[small].sum())
            low, high = np.append(low[~small], -flat), np.append(high[~small], flat)
        density = counts / (high - low)
        edges, places = np.unique(np.concatenate([low, high]), return_inverse=True)
        return edges, np.bincount(places, np.concatenate([-density, density]))


def _clip_noise(
    edges: np.ndarray, weights: np.ndarray, reach: float, top: int, clips: np.ndarray
) -> np.ndarray:
    """Return the squared error under every clip (a part of ``reach``) for codes up to ``top``.

    ``weights`` says what the integral of the squared error from 0 to each edge counts.
    """
    steps = (clips * reach / (top + 0.5))[:, None]
    codes = np.clip(np.floor(edges / steps + 0.5), -top - 1, top)
    rest = edges - codes * steps
    # From 0 to t, the squared error adds up to n s³/12 over n whole steps, and (t - n s)³/3.
    sums = codes * (steps * steps * steps / 12.0) + rest * rest * rest / 3.0
    return np.asarray((sums * weights).sum(axis=1))


@cache
def _edges() -> np.ndarray:
    """Edges of the fixed bins in rising order, float64 ``[2 * _SIDE + 1]``; the last ones are infinite."""
    magnitudes = (np.arange(_SIDE + 1, dtype=np.int32) << _SHIFT).view(np.float32).astype(np.float64)
    magnitudes[-1] = 2.0**128  # the edge behind the largest finite number
    return np.concatenate([-magnitudes[:0:-1], magnitudes])
