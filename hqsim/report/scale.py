"""Colours for numbers: a perceptual map, round axis limits, and colours for named parts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

VIRIDIS = (
    "#440154", "#48186a", "#472d7b", "#424086", "#3b528b", "#33638d", "#2c728e", "#26828e", "#21918c",
    "#1fa088", "#28ae80", "#3fbc73", "#5ec962", "#84d44b", "#addc30", "#d8e219", "#fde725",
)  # fmt: skip
"""The viridis map (Smith and van der Walt, CC0) at 0, 1/16, ..., 1; its lightness rises steadily."""

PARTS = ("#2c728e", "#e0a458", "#4d7a4c", "#b5534c", "#8a7fb5", "#c9c2a5", "#5f6b76", "#d98c9f")
"""Muted colours for the parts of a bar, told apart in light, in dark and in grey."""


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def viridis(fraction: float) -> str:
    """Return the colour ``#rrggbb`` at ``fraction`` (clipped to 0..1), linear between the anchors."""
    position = min(max(fraction, 0.0), 1.0) * (len(VIRIDIS) - 1)
    left = min(int(position), len(VIRIDIS) - 2)
    weight = position - left
    pairs = zip(_channels(VIRIDIS[left]), _channels(VIRIDIS[left + 1]), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * weight):02x}" for a, b in pairs)


def luminance(colour: str) -> float:
    """Return the relative luminance (0 black, 1 white) of ``#rrggbb``, as WCAG 2 defines it."""
    shares = [channel / 255 for channel in _channels(colour)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ink_on(colour: str) -> str:
    """Return black or white, whichever has the higher WCAG contrast on ``colour``."""
    light = luminance(colour)
    return "#ffffff" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "#000000"


@dataclass(frozen=True)
class Scale:
    """A colour axis with round limits; values beyond them take the end colours.

    ``below`` and ``above`` say whether some value lies beyond the limits.
    """

    low: float
    high: float
    step: float
    below: bool
    above: bool

    @classmethod
    def of(cls, values: Iterable[float]) -> Scale:
        """Limits that hold the middle 96 % of the finite ``values``, rounded outwards to a tick."""
        finite = np.array([value for value in values if math.isfinite(value)])
        if not finite.size:
            return cls(0.0, 1.0, 1.0, below=False, above=False)
        low, high = (float(limit) for limit in np.percentile(finite, [2, 98]))
        step = _round_step((high - low) / 5)
        low, high = math.floor(low / step) * step, math.ceil(high / step) * step
        if low == high:
            high = low + step
        return cls(low, high, step, below=bool(finite.min() < low), above=bool(finite.max() > high))

    def fraction(self, value: float) -> float:
        """Place of ``value`` between the limits, 0 to 1."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def colour(self, value: float) -> str:
        """Colour ``#rrggbb`` of a finite ``value``."""
        return viridis(self.fraction(value))

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Fraction and text of every tick, the ends marked where values lie beyond them."""
        count = round((self.high - self.low) / self.step)
        decimals = max(0, -math.floor(math.log10(self.step)))
        values = [self.low + index * self.step for index in range(count + 1)]
        texts = [f"{value:.{decimals}f}".replace("-", "\u2212") for value in values]
        texts[0] = f"\u2264\u2009{texts[0]}" if self.below else texts[0]
        texts[-1] = f"\u2265\u2009{texts[-1]}" if self.above else texts[-1]
        return tuple((index / count, text) for index, text in enumerate(texts))


def _round_step(raw: float) -> float:
    """Smallest of 1, 2, 5 times a power of ten that is at least ``raw``; 1 for a range of zero."""
    if raw <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
