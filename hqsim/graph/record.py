"""The layer record: what one node costs, told by the same node that the simulator executes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

_EMPTY: Mapping[str, Any] = {}


class TensorUse(NamedTuple):
    """A tensor that a layer reads or writes: its name, element count (batch included) and stored bits."""

    name: str
    elements: int
    bits: int

    @property
    def size_bytes(self) -> float:
        """Stored size in bytes."""
        return self.elements * self.bits / 8


@dataclass(frozen=True, kw_only=True)
class ConvWork:
    """The convolution behind an implicit GEMM: channels of all groups, sizes without padding."""

    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    in_h: int
    in_w: int
    out_h: int
    out_w: int
    in_channels: int
    out_channels: int
    groups: int
    batch: int


@dataclass(frozen=True, kw_only=True)
class MatrixWork:
    """``count`` independent products ``[m, k] x [k, n]`` of one layer.

    A convolution is its implicit GEMM: ``m`` output pixels (batch included), ``k`` = kernel x input
    channels of a group, ``n`` output channels of a group, ``count`` groups. Attention has one product
    per head and sample. Storage bits are what memories hold; multiplier bits are what the multiplier
    sees (wider under a single Hadamard). ``segments`` are the parts of ``k`` with accumulators and factors
    of their own (groups of weights, sides of a split shortcut). ``conv`` is None for a linear layer and
    for attention.
    """

    m: int
    n: int
    k: int
    count: int
    a_storage_bits: int
    w_storage_bits: int
    a_multiplier_bits: int
    w_multiplier_bits: int
    accumulator_bits: int
    segments: int = 1
    conv: ConvWork | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the layer."""
        return self.m * self.n * self.k * self.count


@dataclass(frozen=True, kw_only=True)
class HadamardWork:
    """Block transforms of one layer: ``n = 2**order``, ``n * order`` additions per block by butterfly."""

    kind: str
    axis: str
    order: int
    blocks: int
    direction: str

    @property
    def butterfly_adds(self) -> int:
        """Additions and subtractions when every block is a butterfly network."""
        return self.blocks * self.order * (1 << self.order)

    @property
    def dense_adds(self) -> int:
        """Additions and subtractions when every block is multiplied with a dense +-1 matrix."""
        return self.blocks << (2 * self.order)


@dataclass(frozen=True, kw_only=True)
class ParityTerm:
    """The second product of a layer realised by parity: one bit per block times the weights that it meets.

    ``matrix`` is what the multipliers see of it: its first operand are the bits. With ``block_sums`` the
    second one are sums of weights, stored beside the layer's weights; else it is the weights themselves.
    """

    matrix: MatrixWork
    block_sums: bool

    @property
    def weight_bytes(self) -> float:
        """Stored bytes of the block sums."""
        work = self.matrix
        return work.n * work.k * work.count * work.w_storage_bits / 8 if self.block_sums else 0.0


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A realisation of a layer's single Hadamard: what is its own beside others that give the same sums.

    Its weights have the storage width of ``matrix``.
    """

    matrix: MatrixWork
    hadamard: tuple[HadamardWork, ...]
    vector: Mapping[str, int]
    table_bytes: float
    table_bytes_all_steps: float
    parity: ParityTerm | None = None


class LayerRecord(NamedTuple):
    """Everything that the cost model needs of one executed node.

    ``vector`` counts element operations by kind: ``requantize``, ``add``, ``multiply``, ``norm``
    (elements, both passes are the machine's business), ``activation``, ``softmax``, ``rescale``,
    ``copy``, ``table``. ``weights`` is None for a layer without weights. ``table_bytes`` are scale,
    zero-point, bias and look-up tables that this layer reads in one step; ``table_bytes_all_steps``
    what the whole per-timestep table takes in memory. ``realisation`` says how the layer's transform is
    executed: ``runtime``, ``fold``, ``parity`` or ``double``, None without one; ``variants`` are the other
    realisations that give the same codes, by name. ``parity`` is the second product of a layer realised by
    parity.
    """

    name: str
    op: str
    module: str
    inputs: tuple[TensorUse, ...]
    output: TensorUse
    weights: TensorUse | None = None
    matrix: MatrixWork | None = None
    hadamard: tuple[HadamardWork, ...] = ()
    vector: Mapping[str, int] = _EMPTY
    table_bytes: float = 0.0
    table_bytes_all_steps: float = 0.0
    realisation: str | None = None
    variants: Mapping[str, Variant] = _EMPTY
    parity: ParityTerm | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the model as published (0 for a layer without a matrix product)."""
        return self.matrix.macs if self.matrix else 0

    @property
    def parity_macs(self) -> int:
        """Multiply-accumulates of the parity term, which come on top of ``macs``."""
        return self.parity.matrix.macs if self.parity else 0

    @property
    def weight_bytes(self) -> float:
        """Stored bytes of the weights, block sums included."""
        own = self.weights.size_bytes if self.weights else 0.0
        return own + self.parity.weight_bytes if self.parity else own
