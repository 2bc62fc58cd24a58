"""How a column's name and numbers become text: units from the name, one scale and precision per column."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

MISSING: Final = "\u2013"
EXACT: Final = "exact"

_NAME = re.compile(r"(?P<base>.+?)(?:\[(?P<machine>.+)\])?", re.DOTALL)
_UNIT = re.compile(r"_(?P<unit>pj|s|bytes|db|percent)(?=_per_|\.|$)")
_WORDS = {
    "sqnr": "SQNR", "psnr": "PSNR", "dram": "DRAM", "sram": "SRAM", "macs": "MACs", "mac": "MAC",
    "lsb": "LSB", "mse": "MSE", "hadamard": "Hadamard", "frechet": "Fr\u00e9chet",
}  # fmt: skip
_LADDERS: dict[str, tuple[tuple[str, float], ...]] = {
    "pj": (("pJ", 1.0), ("nJ", 1e3), ("\u00b5J", 1e6), ("mJ", 1e9), ("J", 1e12)),
    "s": (("ns", 1e-9), ("\u00b5s", 1e-6), ("ms", 1e-3), ("s", 1.0)),
    "bytes": (("B", 1.0), ("KiB", 2.0**10), ("MiB", 2.0**20), ("GiB", 2.0**30)),
    "db": (("dB", 1.0),),
    "percent": (("%", 1.0),),
}


@dataclass(frozen=True)
class ColumnName:
    """A column's name taken apart: words to show, unit token, and the machine it belongs to."""

    raw: str
    label: str
    unit: str | None
    machine: str | None

    @classmethod
    def parse(cls, raw: str) -> ColumnName:
        """Read ``energy_pj.dram[edge]`` as label "energy DRAM", unit "pj", machine "edge"."""
        match = _NAME.fullmatch(raw)
        base, machine = (match["base"], match["machine"]) if match else (raw, None)
        unit = _UNIT.search(base)
        words = (_UNIT.sub("", base, count=1) if unit else base).replace(".", " ").replace("_", " ").split()
        label = " ".join(_WORDS.get(word.lower(), word) for word in words) or raw
        return cls(raw, label, unit["unit"] if unit else None, machine)


@dataclass(frozen=True)
class Quantity:
    """Unit, divisor and decimals shared by one column; ``decimals`` None means three significant digits."""

    unit: str
    divisor: float
    decimals: int | None

    @classmethod
    def of(cls, values: Sequence[float], unit: str | None) -> Quantity:
        """Choose the unit in which the median magnitude is at least 1, and decimals to read small ones by.

        The median gets three significant digits, the lowest tenth at least two, within four decimals.
        """
        sizes = [abs(value) for value in values if math.isfinite(value) and value]
        typical = float(np.median(sizes)) if sizes else 0.0
        name, divisor = "", 1.0
        if unit is not None:
            ladder = _LADDERS[unit]
            fitting = [rung for rung in ladder if typical >= rung[1]]
            name, divisor = fitting[-1] if fitting else ladder[0]
            if not sizes and unit == "s":
                name, divisor = ladder[-1]
        if unit == "db":
            return cls(name, divisor, 1)
        if divisor == 1.0 and all(size == int(size) for size in sizes):
            return cls(name, divisor, 0)
        typical /= divisor
        if not 1e-3 <= typical < 1e12:
            return cls(name, divisor, None)
        low = float(np.percentile(sizes, 10, method="lower")) / divisor
        decimals = max(2 - math.floor(math.log10(typical)), 1 - math.floor(math.log10(low)))
        return cls(name, divisor, min(max(decimals, 0), 4))

    def text(self, value: float) -> str:
        """Text of ``value`` without its unit; NaN is a dash, infinite dB is "exact"."""
        if isinstance(value, float) and math.isnan(value):
            return MISSING
        if isinstance(value, float) and math.isinf(value):
            return EXACT if self.unit == "dB" and value > 0 else ("\u221e" if value > 0 else "\u2212\u221e")
        return self._finite(value).replace("-", "\u2212")

    def _finite(self, value: float) -> str:
        if self.decimals == 0 and self.divisor == 1.0:
            return f"{round(value):,}"
        scaled = value / self.divisor
        if self.decimals is None:
            return f"{scaled:.3g}"
        last_place = math.copysign(10.0**-self.decimals, scaled)
        if 0 < abs(scaled) < abs(last_place) / 2:
            return f"{'<' if scaled > 0 else '>'}\u2009{last_place:.{self.decimals}f}"
        return f"{scaled:,.{self.decimals}f}"


def reading(value: float, unit: str) -> str:
    """Return one figure for reading, ``reading(0.0123, "s")`` is "12.3 ms"; units are those of columns."""
    quantity = Quantity.of([value], unit)
    return f"{quantity.text(value)} {quantity.unit}"


def short_name(name: str, limit: int = 40) -> str:
    """Return ``name``, its middle replaced by an ellipsis where it is longer than ``limit``."""
    if len(name) <= limit:
        return name
    head = (limit - 1) // 3
    return f"{name[:head]}\u2026{name[len(name) - (limit - 1 - head) :]}"
