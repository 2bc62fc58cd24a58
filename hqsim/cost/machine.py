"""An accelerator as the cost model sees it: plain frozen values, already checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hqsim.cost.geometry import Geometry

#: What a memory may hold: stored tensors, weights, partial sums, and scale, bias and look-up tables.
OPERAND_KINDS = frozenset({"activations", "weights", "sums", "tables"})


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
class NativeWidth:
    """A pair of operand widths that the multipliers have; ``rate`` is MACs per cell and cycle at them."""

    a_bits: int
    w_bits: int
    rate: float = 1.0


@dataclass(frozen=True, kw_only=True)
class MatrixUnit:
    """Multiply-accumulate cells of one geometry.

    ``other_widths`` is ``next_wider``, ``passes`` or ``unsupported``: what becomes of operands that no
    ``native`` pair covers (a bit-composable unit composes its own pairs and has none here). ``multiply``
    are known energies by width. ``add`` and ``register_pj_per_bit`` are None where these hold the whole
    multiply-accumulate. ``toggle_pj`` is the energy of one changing bit of an activation operand, counted
    against the half of its bits that change in random operands, whose energy ``multiply`` is; None: it is
    always that. ``operators`` are the record operators that the unit may run; None: all.
    ``place`` is where a file describes the widths, for errors (``file:line:column: path: ``).
    """

    name: str
    geometry: Geometry
    native: tuple[NativeWidth, ...]
    other_widths: str
    accumulator_bits: int
    multiply: tuple[MultiplyEnergy, ...]
    add: WidthEnergy | None = None
    register_pj_per_bit: Quantity | None = None
    toggle_pj: Quantity | None = None
    operators: frozenset[str] | None = None
    place: str = field(default="", repr=False, compare=False)

    @property
    def cells(self) -> int:
        """Peak MACs per cycle at a native pair of rate 1."""
        return self.geometry.cells

    def multiply_pj(self, a_bits: int, w_bits: int) -> Quantity:
        """Energy of one multiplication in an ``a_bits`` x ``w_bits`` multiplier.

        A known point as it is; else the smallest point that covers both widths, else the largest
        point, scaled with the product of the widths.
        """
        by_size = sorted(self.multiply, key=lambda point: (point.a_bits * point.w_bits, point.a_bits))
        covering = [point for point in by_size if point.a_bits >= a_bits and point.w_bits >= w_bits]
        return (covering[0] if covering else by_size[-1]).at(a_bits, w_bits)


@dataclass(frozen=True, kw_only=True)
class HadamardUnit:
    """A transform unit for blocks of ``2**order`` points, for each order in ``orders``.

    A ``butterfly`` unit has ``stages`` butterfly stages in a row, each of ``lanes`` points per cycle, so
    that one pass does up to ``stages`` orders. A ``dense`` unit multiplies with a +-1 matrix, ``lanes``
    additions per cycle. ``parity``: it can give a block's common lowest bit apart from the codes.
    """

    kind: str
    lanes: int
    stages: int
    orders: frozenset[int]
    parity: bool
    add: WidthEnergy

    def block_cycles(self, order: int) -> float:
        """Cycles per block of ``2**order`` points, all lanes busy (blocks share the lanes)."""
        points = 1 << order
        return (points if self.kind == "dense" else -(-order // self.stages)) * points / self.lanes


@dataclass(frozen=True, kw_only=True)
class VectorUnit:
    """``lanes`` element units; cycles and energy per element by kind of work, with a default."""

    lanes: int
    cycles_per_element: float
    energy_per_element_pj: Quantity
    cycles_by_kind: Mapping[str, float] = field(default_factory=dict)
    energy_by_kind_pj: Mapping[str, Quantity] = field(default_factory=dict)

    def cycles(self, kind: str) -> float:
        """Cycles that one lane spends on one element of this kind of work."""
        return self.cycles_by_kind.get(kind, self.cycles_per_element)

    def energy_pj(self, kind: str) -> Quantity:
        """Arithmetic energy of one element of this kind of work."""
        return self.energy_by_kind_pj.get(kind, self.energy_per_element_pj)


@dataclass(frozen=True, kw_only=True)
class MemoryLevel:
    """One memory; ``size_bytes`` is None for DRAM, ``bytes_per_cycle`` counts reads and writes together.

    An operand of a kind that is not in ``holds`` passes the memory by. ``place`` is where a file gives
    the size, for errors (``file:line:column: path: ``).
    """

    name: str
    size_bytes: int | None
    bytes_per_cycle: float
    read_pj_per_byte: Quantity
    write_pj_per_byte: Quantity
    double_buffered: bool
    holds: frozenset[str] = OPERAND_KINDS
    place: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """An accelerator: one or more matrix units, ``on_chip`` memories from the array outward, ``dram``.

    ``requantize_per_cycle`` is the rate of a requantization unit beside the array; None: the vector
    unit does it. ``launch_s`` is a fixed time per executed layer; ``launch_s_by_operator`` that of layers
    with such an operator. With ``zero_gating`` a zero operand code costs no multiply energy. Engines that are
    ``serial`` (a CPU's, which are all the same cores) work one after the other, all others side by side.
    """

    name: str
    description: str
    node_nm: float
    clock_hz: float
    matrix: tuple[MatrixUnit, ...]
    hadamard: HadamardUnit | None
    vector: VectorUnit
    on_chip: tuple[MemoryLevel, ...]
    dram: MemoryLevel
    static_power_w: Quantity
    requantize_per_cycle: float | None = None
    launch_s: float = 0.0
    launch_s_by_operator: Mapping[str, float] = field(default_factory=dict)
    zero_gating: bool = False
    serial: bool = False

    @cached_property
    def levels(self) -> tuple[MemoryLevel, ...]:
        """All memories from the array outward, DRAM last."""
        return (*self.on_chip, self.dram)

    @cached_property
    def level_names(self) -> tuple[str, ...]:
        """Names of all memories from the array outward."""
        return tuple(level.name for level in self.levels)

    @cached_property
    def resources(self) -> tuple[str, ...]:
        """What can bind a layer: the engines, all memories, the launch."""
        engines = ("matrix", "hadamard", "vector", "requantize")
        return (*engines, *self.level_names, "launch")

    @cached_property
    def bytes_per_cycle(self) -> np.ndarray:
        """Speed of every memory, float64 ``[levels]``."""
        return np.array([level.bytes_per_cycle for level in self.levels], np.float64)

    @cached_property
    def hidden(self) -> list[int]:
        """Numbers of the memories whose transfers run beside the engines, being double-buffered."""
        return [index for index, level in enumerate(self.levels) if level.double_buffered]

    @cached_property
    def exposed(self) -> list[int]:
        """Numbers of the memories whose transfers nothing hides."""
        return [index for index, level in enumerate(self.levels) if not level.double_buffered]

    @cached_property
    def chains(self) -> Mapping[str, tuple[int, ...]]:
        """Numbers of the memories that hold each kind of operand, from the array outward, DRAM last."""
        return {
            kind: (
                *(index for index, level in enumerate(self.on_chip) if kind in level.holds),
                len(self.on_chip),
            )
            for kind in OPERAND_KINDS
        }

    def launch_cycles(self, operator: str) -> int:
        """Return the cycles before a layer with ``operator`` starts."""
        return math.ceil(self.launch_s_by_operator.get(operator, self.launch_s) * self.clock_hz)

    def transform_unit(self, order: int) -> HadamardUnit | None:
        """Return the unit for blocks of ``2**order`` points; None: the vector unit does them."""
        return self.hadamard if self.hadamard is not None and order in self.hadamard.orders else None
