"""Formats: what a code means. Real value = ``scale * (code - zero_point)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hqsim.errors import NumericsError
from hqsim.numerics.rounding import round_half_up


@dataclass(frozen=True)
class Format:
    """Width, signedness, scales and zero-points of a tensor of codes.

    ``scales`` and ``zero_points`` hold one entry for a static tensor, or one per calibrated timestep.
    ``restricted`` drops the most negative code (weights). ``exponents``, one per channel or one for all,
    make the channels' steps powers of two apart: codes of channel ``c`` are those of ``bits`` times
    ``2**exponents[c]``, in units of the finest step, the scale's (power-of-two factors; Lin et al., FQ-ViT,
    2022). A memory holds ``bits`` of them.
    """

    bits: int
    scales: tuple[float, ...]
    signed: bool = True
    restricted: bool = False
    zero_points: tuple[int, ...] = (0,)
    exponents: tuple[int, ...] = ()

    @property
    def even(self) -> Format:
        """The format of one channel's codes before its exponent: without exponents."""
        return replace(self, exponents=()) if self.exponents else self

    @property
    def spread(self) -> int:
        """The largest exponent: bits that the multiplier sees and a memory does not hold."""
        return max(self.exponents) if self.exponents else 0

    @property
    def low(self) -> int:
        """Smallest code."""
        if not self.signed:
            return 0
        return (-(1 << (self.bits - 1)) + int(self.restricted)) << self.spread

    @property
    def high(self) -> int:
        """Largest code."""
        return ((1 << (self.bits - int(self.signed))) - 1) << self.spread

    @property
    def scale(self) -> float:
        """The scale of a static tensor."""
        if len(self.scales) != 1:
            raise ValueError(
                f"a tensor with {len(self.scales)} scales has no single one; use scale_at(entry)"
            )
        return self.scales[0]

    def scale_at(self, entry: int) -> float:
        """The scale at entry ``entry`` of the timestep table."""
        return self.scales[0] if len(self.scales) == 1 else self.scales[entry]

    def zero_point_at(self, entry: int) -> int:
        """The zero-point at entry ``entry`` of the timestep table."""
        return self.zero_points[0] if len(self.zero_points) == 1 else self.zero_points[entry]

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The integer type that arrays of these codes have: 8, 16 or 32 bits, unsigned for unsigned codes."""
        bits = self.bits + self.spread
        size = 8 if bits <= 8 else 16 if bits <= 16 else 32
        return np.dtype(f"{'int' if self.signed else 'uint'}{size}")

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return the codes of real ``values`` (static tensors): divide, round half up, add z, clamp.

        Raises
        ------
        NumericsError
            When a value is not finite.
        """
        real = np.asarray(values, np.float64)
        if not np.all(np.isfinite(real)):
            raise NumericsError(f"values to encode must be finite, got {real[~np.isfinite(real)].flat[0]}")
        codes = np.clip(real / self.scale + self.zero_point_at(0), self.low, self.high)
        return round_half_up(codes).astype(self.dtype)

    def decode(self, codes: np.ndarray, entry: int = 0) -> np.ndarray:
        """Return the real values float64 of ``codes`` at entry ``entry`` of the timestep table."""
        return self.scale_at(entry) * (np.asarray(codes, np.float64) - self.zero_point_at(entry))

    def to_json(self) -> dict[str, Any]:
        """Return plain values; floats survive exactly."""
        return {
            "bits": self.bits,
            "signed": self.signed,
            "restricted": self.restricted,
            "scales": list(self.scales),
            "zero_points": list(self.zero_points),
            **({"exponents": list(self.exponents)} if self.exponents else {}),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Format:
        """Rebuild a format from :meth:`to_json`."""
        return cls(
            bits=record["bits"],
            scales=tuple(float(scale) for scale in record["scales"]),
            signed=record["signed"],
            restricted=record["restricted"],
            zero_points=tuple(record["zero_points"]),
            exponents=tuple(record.get("exponents", ())),
        )
