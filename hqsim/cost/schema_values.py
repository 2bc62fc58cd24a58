"""Numbers of an accelerator file: each has a source or says that it is assumed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from hqsim.cost.machine import MultiplyEnergy, NativeWidth, Quantity, WidthEnergy

Bits = Annotated[int, Field(ge=1, le=64)]
BitsPair = Annotated[list[Bits], Field(min_length=2, max_length=2)]
Order = Annotated[int, Field(ge=1, le=16)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Strict(BaseModel):
    """A mapping of a file: no other keys, no conversions, no infinities."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Provenance(Strict):
    """Where a number comes from: exactly one of ``source`` and ``assumed: true``."""

    source: Annotated[str, Field(min_length=1)] | None = None
    note: str | None = None
    assumed: bool = Field(default=False, validate_default=True)

    @field_validator("assumed")
    @classmethod
    def _one_origin(cls, assumed: bool, info: ValidationInfo) -> bool:
        if "source" in info.data and assumed == (info.data["source"] is not None):
            raise ValueError("a number needs either 'source: ...' or 'assumed: true', exactly one of them")
        return assumed


class Count(Provenance):
    """A positive integer."""

    value: Annotated[int, Field(gt=0)]


class Positive(Provenance):
    """A positive number."""

    value: Annotated[float, Field(gt=0)]


class NonNegative(Provenance):
    """A number that may be zero."""

    value: Annotated[float, Field(ge=0)]

    def quantity(self) -> Quantity:
        """Return the number with its standing."""
        return Quantity(value=self.value, assumed=self.assumed)


class Bandwidth(Provenance):
    """Bytes per cycle or per second, reads and writes together."""

    value: Annotated[float, Field(gt=0)]
    unit: Literal["bytes_per_cycle", "bytes_per_s"]

    def per_cycle(self, clock_hz: float) -> float:
        """Return the bytes per cycle of ``clock_hz``."""
        return self.value / clock_hz if self.unit == "bytes_per_s" else self.value


class Orders(Provenance):
    """Orders of block transforms that a unit does."""

    value: Annotated[list[Order], Field(min_length=1)]


class NativePair(Provenance):
    """Widths [activation bits, weight bits] of the multipliers, and MACs per cell and cycle at them."""

    bits: BitsPair
    rate: Annotated[float, Field(gt=0)] = 1.0

    def width(self) -> NativeWidth:
        """Return the checked pair."""
        return NativeWidth(a_bits=self.bits[0], w_bits=self.bits[1], rate=self.rate)


class MultiplyPoint(NonNegative):
    """Energy of one multiplication at [activation bits, weight bits]."""

    at_bits: BitsPair

    def energy(self) -> MultiplyEnergy:
        """Return the multiplication's energy with its widths."""
        return MultiplyEnergy(energy_pj=self.quantity(), a_bits=self.at_bits[0], w_bits=self.at_bits[1])


class WidthPoint(NonNegative):
    """Energy of one operation at an operand width."""

    at_bits: Bits

    def energy(self) -> WidthEnergy:
        """Return the operation's energy with its width."""
        return WidthEnergy(energy_pj=self.quantity(), bits=self.at_bits)
