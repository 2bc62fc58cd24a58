"""An accelerator as the cost model sees it: plain frozen values, already checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number of the energy model, and whether it is assumed (no published or computed source)."""

    value: float
    assumed: bool = False


@dataclass(frozen=True, kw_only=True)
class WidthEnergy:
    """Energy of one operation at a known operand width; scaled linearly to other widths."""

    energy_pj: Quantity
    bits: int

    def at(self, bits: float) -> Quantity:
        """Energy of the operation on operands of ``bits`` bits."""
        return Quantity(value=self.energy_pj.value * bits / self.bits, assumed=self.energy_pj.assumed)


@dataclass(frozen=True, kw_only=True)
class MultiplyEnergy:
    """Energy of one multiplication at a known pair of widths; scales with the product of the widths."""

    energy_pj: Quantity
    a_bits: int
    w_bits: int

    def at(self, a_bits: int, w_bits: int) -> Quantity:
        """Energy of one multiplication in an ``a_bits`` x ``w_bits`` multiplier."""
        scale = (a_bits * w_bits) / (self.a_bits * self.w_bits)
        return Quantity(value=self.energy_pj.value * scale, assumed=self.energy_pj.assumed)


@dataclass(frozen=True, kw_only=True)
class MatrixUnit:
    """``arrays`` systolic arrays of ``rows`` x ``cols`` multiply-accumulate cells.

    ``native_bits`` are the (activation, weight) widths that the multipliers have; ``other_widths``
    is ``next_wider``, ``passes`` or ``unsupported``. ``add`` and ``register_pj_per_bit`` are None
    where the multiply energy already holds the whole multiply-accumulate.
    """

    rows: int
    cols: int
    arrays: int
    dataflow: str
    native_bits: tuple[tuple[int, int], ...]
    other_widths: str
    accumulator_bits: int
    multiply: MultiplyEnergy
    add: WidthEnergy | None = None
    register_pj_per_bit: Quantity | None = None

    @property
    def cells(self) -> int:
        """Multiply-accumulate cells of all arrays: the peak MACs per cycle at a native width."""
        return self.rows * self.cols * self.arrays


@dataclass(frozen=True, kw_only=True)
class HadamardUnit:
    """A transform unit; ``kind`` tells how many additions a block takes (``butterfly`` or ``dense``)."""

    kind: str
    adds_per_cycle: int
    add: WidthEnergy


@dataclass(frozen=True, kw_only=True)
class VectorUnit:
    """``lanes`` element units; cycles and energy per element by kind of work, with a default."""

    lanes: int
    cycles_per_element: float
    energy_per_element_pj: Quantity
    cycles_by_kind: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    energy_by_kind_pj: Mapping[str, Quantity] = field(default_factory=lambda: MappingProxyType({}))

    def cycles(self, kind: str) -> float:
        """Cycles that one lane spends on one element of this kind of work."""
        return self.cycles_by_kind.get(kind, self.cycles_per_element)

    def energy_pj(self, kind: str) -> Quantity:
        """Arithmetic energy of one element of this kind of work."""
        return self.energy_by_kind_pj.get(kind, self.energy_per_element_pj)


@dataclass(frozen=True, kw_only=True)
class MemoryLevel:
    """One memory; ``size_bytes`` is None for DRAM, ``bytes_per_cycle`` counts reads and writes together."""

    name: str
    size_bytes: int | None
    bytes_per_cycle: float
    read_pj_per_byte: Quantity
    write_pj_per_byte: Quantity
    double_buffered: bool


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """An accelerator: ``on_chip`` memories from the array outward, then ``dram``."""

    name: str
    description: str
    node_nm: float
    clock_hz: float
    matrix: MatrixUnit
    hadamard: HadamardUnit | None
    vector: VectorUnit
    on_chip: tuple[MemoryLevel, ...]
    dram: MemoryLevel
    static_power_w: Quantity

    @property
    def levels(self) -> tuple[MemoryLevel, ...]:
        """All memories from the array outward, DRAM last."""
        return (*self.on_chip, self.dram)
