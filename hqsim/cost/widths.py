"""Which multiplier an operand pair runs on, in how many passes and how fast."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hqsim.cost.geometry import BitComposable
from hqsim.cost.machine import MatrixUnit, NativeWidth
from hqsim.errors import UnsupportedError


@dataclass(frozen=True, kw_only=True)
class MultiplierMode:
    """A native ``a_bits`` x ``w_bits`` multiplier, used ``a_passes * w_passes`` times per product.

    ``rate`` is MACs per cell and cycle of one pass.
    """

    a_bits: int
    w_bits: int
    a_passes: int = 1
    w_passes: int = 1
    rate: float = 1.0

    @property
    def passes(self) -> int:
        """Passes over the array per product."""
        return self.a_passes * self.w_passes


def native_widths(unit: MatrixUnit) -> tuple[NativeWidth, ...]:
    """Return the widths that the unit multiplies in one pass; a bit-composable one composes its own.

    ``floor(u / a) * floor(u / w)`` products of ``a`` x ``w`` bits fall out of a unit of ``u`` bits.
    """
    return _composed(unit.geometry) if isinstance(unit.geometry, BitComposable) else unit.native


@cache
def _composed(geometry: BitComposable) -> tuple[NativeWidth, ...]:
    bits = geometry.unit_bits
    return tuple(
        NativeWidth(a_bits=a, w_bits=w, rate=(bits // a) * (bits // w))
        for a in geometry.widths
        for w in geometry.widths
    )


def multiplier_modes(unit: MatrixUnit, *, a_bits: int, w_bits: int, layer: str) -> list[MultiplierMode]:
    """Return the ways in which ``unit`` may multiply operands of the given widths.

    ``unsupported`` allows only a native multiplier of exactly these widths, ``next_wider`` those that cover
    both. ``passes`` also cuts an operand into slices, ``ceil(a / na) * ceil(w / nw)`` passes, but only
    where the unit has no wider slices. What wider operands may do narrower ones may too, in no more passes.
    The one of fewest passes stands first, then the smallest.

    Raises
    ------
    UnsupportedError
        When the unit's rule does not cover the widths.
    """
    modes = [
        MultiplierMode(
            a_bits=native.a_bits,
            w_bits=native.w_bits,
            a_passes=-(-a_bits // native.a_bits),
            w_passes=-(-w_bits // native.w_bits),
            rate=native.rate,
        )
        for native in native_widths(unit)
    ]
    allowed = [mode for mode in modes if _allows(unit.other_widths, mode, modes, (a_bits, w_bits))]
    if allowed:
        return sorted(allowed, key=lambda mode: (mode.passes, mode.a_bits * mode.w_bits))
    known = ", ".join(f"{mode.a_bits} x {mode.w_bits}" for mode in modes)
    raise UnsupportedError(
        f"{unit.place}layer '{layer}' needs a multiplier of {a_bits} x {w_bits} bits (activation x weight), "
        f"but matrix unit '{unit.name}' has {known} and its rule for other widths is '{unit.other_widths}'; "
        "use narrower operands, add a native width, or set 'other_widths: passes'."
    )


def multiplier_mode(unit: MatrixUnit, *, a_bits: int, w_bits: int, layer: str) -> MultiplierMode:
    """Return the mode of least time for a product that fills the unit, then of fewest passes, then smallest.

    A wider operand never takes less time. Raises UnsupportedError like :func:`multiplier_modes`.
    """
    modes = multiplier_modes(unit, a_bits=a_bits, w_bits=w_bits, layer=layer)
    return min(modes, key=lambda mode: mode.passes / mode.rate)


def _allows(rule: str, mode: MultiplierMode, modes: list[MultiplierMode], widths: tuple[int, int]) -> bool:
    if rule == "unsupported":
        return (mode.a_bits, mode.w_bits) == widths
    if rule == "next_wider":
        return mode.passes == 1
    wider_a = any(other.a_bits > mode.a_bits and other.w_bits >= mode.w_bits for other in modes)
    wider_w = any(other.w_bits > mode.w_bits and other.a_bits >= mode.a_bits for other in modes)
    return not (mode.a_passes > 1 and wider_a) and not (mode.w_passes > 1 and wider_w)
