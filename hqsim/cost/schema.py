"""The accelerator file: a strict schema in which every number has a source or says that it is assumed."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from hqsim.cost.machine import (
    HadamardUnit,
    Hardware,
    MatrixUnit,
    MemoryLevel,
    MultiplyEnergy,
    Quantity,
    VectorUnit,
    WidthEnergy,
)

Bits = Annotated[int, Field(ge=1, le=64)]
BitsPair = Annotated[list[Bits], Field(min_length=2, max_length=2)]
ENGINE_NAMES = frozenset({"matrix", "hadamard", "vector", "dram"})


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Provenance(_Strict):
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


class Count(_Provenance):
    """A positive integer."""

    value: Annotated[int, Field(gt=0)]


class Positive(_Provenance):
    """A positive number."""

    value: Annotated[float, Field(gt=0)]


class NonNegative(_Provenance):
    """A number that may be zero."""

    value: Annotated[float, Field(ge=0)]

    def quantity(self) -> Quantity:
        """Return the number with its standing."""
        return Quantity(value=self.value, assumed=self.assumed)


class Bandwidth(_Provenance):
    """Bytes per cycle or per second, reads and writes together."""

    value: Annotated[float, Field(gt=0)]
    unit: Literal["bytes_per_cycle", "bytes_per_s"]


class NativeWidths(_Provenance):
    """Pairs [activation bits, weight bits] that the multipliers have."""

    value: Annotated[list[BitsPair], Field(min_length=1)]


class MultiplyPoint(NonNegative):
    """Energy of one multiplication at [activation bits, weight bits]."""

    at_bits: BitsPair


class WidthPoint(NonNegative):
    """Energy of one operation at an operand width."""

    at_bits: Bits

    def energy(self) -> WidthEnergy:
        """Return the operation's energy with its width."""
        return WidthEnergy(energy_pj=self.quantity(), bits=self.at_bits)


class MatrixFile(_Strict):
    """A unit of systolic arrays."""

    kind: Literal["systolic"]
    rows: Count
    cols: Count
    arrays: Count
    dataflow: Literal["os", "ws", "is", "best"]
    native_bits: NativeWidths
    other_widths: Literal["next_wider", "passes", "unsupported"]
    accumulator_bits: Count
    multiply_pj: MultiplyPoint
    add_pj: WidthPoint | None = None
    register_pj_per_bit: NonNegative | None = None

    def unit(self) -> MatrixUnit:
        """Return the checked unit."""
        a_bits, w_bits = self.multiply_pj.at_bits
        return MatrixUnit(
            rows=self.rows.value,
            cols=self.cols.value,
            arrays=self.arrays.value,
            dataflow=self.dataflow,
            native_bits=tuple((a, w) for a, w in self.native_bits.value),
            other_widths=self.other_widths,
            accumulator_bits=self.accumulator_bits.value,
            multiply=MultiplyEnergy(energy_pj=self.multiply_pj.quantity(), a_bits=a_bits, w_bits=w_bits),
            add=self.add_pj.energy() if self.add_pj else None,
            register_pj_per_bit=self.register_pj_per_bit.quantity() if self.register_pj_per_bit else None,
        )


class HadamardFile(_Strict):
    """A transform unit."""

    kind: Literal["butterfly", "dense"]
    adds_per_cycle: Count
    add_pj: WidthPoint

    def unit(self) -> HadamardUnit:
        """Return the checked unit."""
        return HadamardUnit(
            kind=self.kind, adds_per_cycle=self.adds_per_cycle.value, add=self.add_pj.energy()
        )


NumberT = TypeVar("NumberT", bound=_Provenance)


class ByKind(_Strict, Generic[NumberT]):
    """One number per kind of element work; a kind that is left out uses the unit's plain figure."""

    requantize: NumberT | None = None
    add: NumberT | None = None
    multiply: NumberT | None = None
    norm: NumberT | None = None
    activation: NumberT | None = None
    softmax: NumberT | None = None
    rescale: NumberT | None = None
    copy_: NumberT | None = Field(default=None, alias="copy")
    table: NumberT | None = None
    hadamard_add: NumberT | None = None

    def given(self) -> dict[str, NumberT]:
        """Return the numbers that the file gives, by kind."""
        fields = type(self).model_fields
        numbers = {field.alias or name: getattr(self, name) for name, field in fields.items()}
        return {kind: number for kind, number in numbers.items() if number is not None}


class VectorFile(_Strict):
    """The element-wise unit."""

    lanes: Count
    cycles_per_element: Positive
    cycles_by_kind: ByKind[Positive] = Field(default_factory=ByKind[Positive])
    energy_per_element_pj: NonNegative
    energy_by_kind_pj: ByKind[NonNegative] = Field(default_factory=ByKind[NonNegative])

    def unit(self) -> VectorUnit:
        """Return the checked unit."""
        cycles, energy = self.cycles_by_kind.given(), self.energy_by_kind_pj.given()
        return VectorUnit(
            lanes=self.lanes.value,
            cycles_per_element=self.cycles_per_element.value,
            cycles_by_kind={kind: number.value for kind, number in cycles.items()},
            energy_per_element_pj=self.energy_per_element_pj.quantity(),
            energy_by_kind_pj={kind: number.quantity() for kind, number in energy.items()},
        )


class DramFile(_Strict):
    """The memory behind the chip; everything fits in it."""

    bandwidth: Bandwidth
    read_pj_per_byte: NonNegative
    write_pj_per_byte: NonNegative
    double_buffered: bool

    def level(self, clock_hz: float, *, name: str = "dram", size_bytes: int | None = None) -> MemoryLevel:
        """Return the checked memory, its bandwidth in bytes per cycle of ``clock_hz``."""
        per_cycle = self.bandwidth.value
        if self.bandwidth.unit == "bytes_per_s":
            per_cycle /= clock_hz
        return MemoryLevel(
            name=name,
            size_bytes=size_bytes,
            bytes_per_cycle=per_cycle,
            read_pj_per_byte=self.read_pj_per_byte.quantity(),
            write_pj_per_byte=self.write_pj_per_byte.quantity(),
            double_buffered=self.double_buffered,
        )


class OnChipFile(DramFile):
    """One on-chip memory."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    size_bytes: Count


class MemoryFile(_Strict):
    """On-chip memories from the array outward, and the DRAM."""

    on_chip: Annotated[list[OnChipFile], Field(min_length=1)]
    dram: DramFile

    @field_validator("on_chip")
    @classmethod
    def _names_differ(cls, on_chip: list[OnChipFile]) -> list[OnChipFile]:
        counts = Counter(level.name for level in on_chip)
        bad = sorted(name for name, times in counts.items() if times > 1 or name in ENGINE_NAMES)
        if bad:
            raise ValueError(
                f"memory names must differ from each other and from {', '.join(sorted(ENGINE_NAMES))}; "
                f"rename {', '.join(bad)}"
            )
        return on_chip


class HardwareFile(_Strict):
    """An accelerator file."""

    name: Annotated[str, Field(min_length=1)]
    description: str
    node_nm: Positive
    clock_hz: Positive
    matrix: MatrixFile
    hadamard: HadamardFile | None
    vector: VectorFile
    memory: MemoryFile
    static_power_w: NonNegative

    def hardware(self) -> Hardware:
        """Return the accelerator that the cost model works with."""
        clock_hz = self.clock_hz.value
        return Hardware(
            name=self.name,
            description=self.description,
            node_nm=self.node_nm.value,
            clock_hz=clock_hz,
            matrix=self.matrix.unit(),
            hadamard=self.hadamard.unit() if self.hadamard else None,
            vector=self.vector.unit(),
            on_chip=tuple(
                level.level(clock_hz, name=level.name, size_bytes=level.size_bytes.value)
                for level in self.memory.on_chip
            ),
            dram=self.memory.dram.level(clock_hz),
            static_power_w=self.static_power_w.quantity(),
        )


def hardware_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an accelerator file (``hw_models/schema.json``), for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **HardwareFile.model_json_schema()}
