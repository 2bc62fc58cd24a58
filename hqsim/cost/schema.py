"""The accelerator file: a strict schema, its cross-checks, and its JSON Schema for editors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from hqsim.cost.machine import OPERAND_KINDS, HadamardUnit, Hardware, MemoryLevel, VectorUnit
from hqsim.cost.schema_matrix import AnyMatrixFile
from hqsim.cost.schema_values import (
    Bandwidth,
    Count,
    Name,
    NonNegative,
    Orders,
    Positive,
    Provenance,
    Strict,
    WidthPoint,
)

ENGINE_NAMES = frozenset({"matrix", "hadamard", "vector", "requantize", "launch", "dram"})
OperandKind = Literal["activations", "weights", "sums", "tables"]
Locate = Callable[[tuple[str | int, ...]], str]


class _TransformFile(Strict):
    """What every transform unit has."""

    lanes: Count
    orders: Orders
    parity: bool = False
    add_pj: WidthPoint

    @field_validator("orders")
    @classmethod
    def _orders_differ(cls, orders: Orders) -> Orders:
        if len(set(orders.value)) < len(orders.value):
            raise ValueError(f"orders must differ from each other, got {orders.value}")
        return orders


class ButterflyFile(_TransformFile):
    """Butterfly stages in a row, ``lanes`` points wide: one pass does up to ``stages`` orders."""

    kind: Literal["butterfly"]
    stages: Count

    def unit(self) -> HadamardUnit:
        """Return the checked unit."""
        return _transform_unit(self, self.kind, self.stages.value)


class DenseFile(_TransformFile):
    """A +-1 matrix product, ``lanes`` additions per cycle."""

    kind: Literal["dense"]

    def unit(self) -> HadamardUnit:
        """Return the checked unit."""
        return _transform_unit(self, self.kind, 1)


def _transform_unit(file: _TransformFile, kind: str, stages: int) -> HadamardUnit:
    return HadamardUnit(
        kind=kind,
        lanes=file.lanes.value,
        stages=stages,
        orders=frozenset(file.orders.value),
        parity=file.parity,
        add=file.add_pj.energy(),
    )


NumberT = TypeVar("NumberT", bound=Provenance)


class ByKind(Strict, Generic[NumberT]):
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


class VectorFile(Strict):
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


class DramFile(Strict):
    """The memory behind the chip; everything fits in it."""

    bandwidth: Bandwidth
    read_pj_per_byte: NonNegative
    write_pj_per_byte: NonNegative
    double_buffered: bool

    def level(self, clock_hz: float) -> MemoryLevel:
        """Return the checked memory on a chip of ``clock_hz``."""
        return _level(self, clock_hz, name="dram", size_bytes=None, holds=OPERAND_KINDS, place="")


class OnChipFile(DramFile):
    """One on-chip memory; an operand that it does not hold passes it by (DRAM holds everything)."""

    name: Name
    size_bytes: Count
    holds: list[OperandKind] = Field(default=["activations", "weights", "sums", "tables"], min_length=1)

    def on_chip_level(self, clock_hz: float, *, place: str) -> MemoryLevel:
        """Return the checked memory; ``place`` is where its size stands."""
        size_bytes, holds = self.size_bytes.value, frozenset(self.holds)
        return _level(self, clock_hz, name=self.name, size_bytes=size_bytes, holds=holds, place=place)


def _level(
    file: DramFile, clock_hz: float, *, name: str, size_bytes: int | None, holds: frozenset[str], place: str
) -> MemoryLevel:
    return MemoryLevel(
        name=name,
        size_bytes=size_bytes,
        bytes_per_cycle=file.bandwidth.per_cycle(clock_hz),
        read_pj_per_byte=file.read_pj_per_byte.quantity(),
        write_pj_per_byte=file.write_pj_per_byte.quantity(),
        double_buffered=file.double_buffered,
        holds=holds,
        place=place,
    )


class MemoryFile(Strict):
    """On-chip memories from the array outward, and the DRAM."""

    on_chip: Annotated[list[OnChipFile], Field(min_length=1)]
    dram: DramFile

    @field_validator("on_chip")
    @classmethod
    def _names_differ(cls, on_chip: list[OnChipFile]) -> list[OnChipFile]:
        _check_names("memory", [level.name for level in on_chip], ENGINE_NAMES)
        return on_chip


class HardwareFile(Strict):
    """An accelerator file."""

    name: Annotated[str, Field(min_length=1)]
    description: str
    node_nm: Positive
    clock_hz: Positive
    matrix: Annotated[list[AnyMatrixFile], Field(min_length=1)]
    hadamard: Annotated[ButterflyFile | DenseFile, Field(discriminator="kind")] | None
    vector: VectorFile
    requantize_per_cycle: Positive | None = None
    memory: MemoryFile
    static_power_w: NonNegative
    launch_s: NonNegative | None = None
    launch_s_by_operator: dict[Annotated[str, Field(min_length=1)], NonNegative] = Field(default_factory=dict)
    zero_gating: bool = False
    serial: bool = False

    @field_validator("matrix")
    @classmethod
    def _unit_names_differ(cls, matrix: list[AnyMatrixFile]) -> list[AnyMatrixFile]:
        _check_names("matrix unit", [unit.name for unit in matrix], ENGINE_NAMES - {"matrix"})
        return matrix

    @field_validator("memory")
    @classmethod
    def _memories_are_no_units(cls, memory: MemoryFile, info: ValidationInfo) -> MemoryFile:
        units = {unit.name for unit in info.data.get("matrix", ())}
        _check_names("memory", [level.name for level in memory.on_chip], units)
        return memory

    def hardware(self, locate: Locate = lambda path: "") -> Hardware:
        """Return the accelerator that the cost model works with.

        ``locate`` gives the start of an error about the value at a path of the file.
        """
        clock_hz = self.clock_hz.value
        return Hardware(
            name=self.name,
            description=self.description,
            node_nm=self.node_nm.value,
            clock_hz=clock_hz,
            matrix=tuple(
                unit.unit(place=locate(("matrix", index, "native"))) for index, unit in enumerate(self.matrix)
            ),
            hadamard=self.hadamard.unit() if self.hadamard else None,
            vector=self.vector.unit(),
            requantize_per_cycle=self.requantize_per_cycle.value if self.requantize_per_cycle else None,
            on_chip=tuple(
                level.on_chip_level(clock_hz, place=locate(("memory", "on_chip", index, "size_bytes")))
                for index, level in enumerate(self.memory.on_chip)
            ),
            dram=self.memory.dram.level(clock_hz),
            static_power_w=self.static_power_w.quantity(),
            launch_s=self.launch_s.value if self.launch_s else 0.0,
            launch_s_by_operator={name: time.value for name, time in self.launch_s_by_operator.items()},
            zero_gating=self.zero_gating,
            serial=self.serial,
        )


def _check_names(kind: str, names: Sequence[str], taken: frozenset[str] | set[str]) -> None:
    counts = Counter(names)
    bad = sorted(name for name, times in counts.items() if times > 1 or name in taken)
    if bad:
        others = f" and from {', '.join(sorted(taken))}" if taken else ""
        raise ValueError(f"{kind} names must differ from each other{others}; rename {', '.join(bad)}")


def hardware_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an accelerator file (``hw_models/schema.json``), for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **HardwareFile.model_json_schema()}
