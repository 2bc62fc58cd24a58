"""Which multiplier an operand pair runs on, and in how many passes."""

from __future__ import annotations

from dataclasses import dataclass

from hqsim.cost.machine import MatrixUnit
from hqsim.errors import UnsupportedError


@dataclass(frozen=True, kw_only=True)
class MultiplierMode:
    """A native ``a_bits`` x ``w_bits`` multiplier, used ``a_passes * w_passes`` times per product."""

    a_bits: int
    w_bits: int
    a_passes: int = 1
    w_passes: int = 1

    @property
    def passes(self) -> int:
        """Passes over the array per product."""
        return self.a_passes * self.w_passes


def multiplier_mode(unit: MatrixUnit, *, a_bits: int, w_bits: int, layer: str) -> MultiplierMode:
    """Return how ``unit`` multiplies operands of the given widths.

    The smallest native multiplier that covers both widths is used (``unsupported`` demands that it has
    exactly these widths). Where none covers them, ``passes`` splits the operands into slices of the
    largest native multiplier: ``ceil(a / na) * ceil(w / nw)`` passes. So a wider operand never takes
    fewer passes nor a smaller multiplier.

    Raises
    ------
    UnsupportedError
        When the unit's rule does not cover the widths.
    """
    exact = unit.other_widths == "unsupported"
    covering = [
        (na * nw, na, nw)
        for na, nw in unit.native_bits
        if (na == a_bits and nw == w_bits if exact else na >= a_bits and nw >= w_bits)
    ]
    if covering:
        _, na, nw = min(covering)
        return MultiplierMode(a_bits=na, w_bits=nw)
    if unit.other_widths == "passes":
        largest = max(na * nw for na, nw in unit.native_bits)
        candidates = [(na, nw) for na, nw in unit.native_bits if na * nw == largest]
        modes = [
            MultiplierMode(a_bits=na, w_bits=nw, a_passes=-(-a_bits // na), w_passes=-(-w_bits // nw))
            for na, nw in candidates
        ]
        return min(modes, key=lambda mode: mode.passes)
    native = ", ".join(f"{na} x {nw}" for na, nw in unit.native_bits)
    raise UnsupportedError(
        f"layer '{layer}' needs a multiplier of {a_bits} x {w_bits} bits (activation x weight), but the "
        f"matrix unit has {native} and its rule for other widths is '{unit.other_widths}'; use narrower "
        "operands, add a native width, or set 'other_widths: passes'."
    )
