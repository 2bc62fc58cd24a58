"""What a matrix unit is made of, by kind: sizes only. How it runs a product: :mod:`hqsim.cost.units`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Systolic:
    """``arrays`` grids of ``rows`` x ``cols`` cells; ``dataflow`` is ``os``, ``ws``, ``is`` or ``best``."""

    rows: int
    cols: int
    arrays: int = 1
    dataflow: str = "best"

    @property
    def cells(self) -> int:
        """MACs per cycle at rate 1."""
        return self.rows * self.cols * self.arrays


@dataclass(frozen=True, kw_only=True)
class RowStationary:
    """``rows`` x ``cols`` processing elements, each with register files of so many words (Eyeriss v1)."""

    rows: int
    cols: int
    ifmap_words: int
    filter_words: int
    sum_words: int

    @property
    def cells(self) -> int:
        """MACs per cycle at rate 1."""
        return self.rows * self.cols


@dataclass(frozen=True, kw_only=True)
class BitComposable:
    """``rows`` (input channels) x ``cols`` (output channels) fusion units of ``unit_bits`` x ``unit_bits``.

    A unit falls apart into narrower multipliers of the same sum, down to ``min_bits`` (BitFusion).
    """

    rows: int
    cols: int
    unit_bits: int = 8
    min_bits: int = 2

    @property
    def cells(self) -> int:
        """MACs per cycle at full width."""
        return self.rows * self.cols

    @property
    def widths(self) -> tuple[int, ...]:
        """Operand widths that a unit composes, narrowest first: doublings of ``min_bits``."""
        doublings = range((self.unit_bits // self.min_bits).bit_length())
        return tuple(self.min_bits << times for times in doublings)


@dataclass(frozen=True, kw_only=True)
class DotProduct:
    """``units`` engines that add ``k`` products to each of ``m`` x ``n`` sums per cycle."""

    m: int
    n: int
    k: int
    units: int = 1

    @property
    def cells(self) -> int:
        """MACs per cycle at rate 1."""
        return self.m * self.n * self.k * self.units


@dataclass(frozen=True, kw_only=True)
class TensorCore:
    """``units`` multiprocessors of ``macs_per_cycle``, each at one output tile at a time.

    ``tile_m`` x ``tile_n`` is the largest tile, ``tile_k`` the depth of a step. ``macs_per_word`` is the
    balance of all of them and the memory behind: MACs at rate 1 in the time that it takes to fetch a word.
    """

    units: int
    macs_per_cycle: int
    tile_m: int
    tile_n: int
    tile_k: int
    macs_per_word: float

    @property
    def cells(self) -> int:
        """MACs per cycle at rate 1."""
        return self.units * self.macs_per_cycle


Geometry = Systolic | RowStationary | BitComposable | DotProduct | TensorCore
