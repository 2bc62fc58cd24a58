"""Matrix units of an accelerator file: what all of them have, and one class per geometry."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from hqsim.cost.geometry import BitComposable, DotProduct, Geometry, RowStationary, Systolic, TensorCore
from hqsim.cost.machine import MatrixUnit, NativeWidth
from hqsim.cost.schema_values import (
    Count,
    MultiplyPoint,
    Name,
    NativePair,
    NonNegative,
    Positive,
    Strict,
    WidthPoint,
)


class MatrixFile(Strict):
    """What every matrix unit has; ``kind`` tells its geometry."""

    name: Name
    other_widths: Literal["next_wider", "passes", "unsupported"]
    accumulator_bits: Count
    multiply_pj: Annotated[list[MultiplyPoint], Field(min_length=1)]
    add_pj: WidthPoint | None = None
    register_pj_per_bit: NonNegative | None = None
    toggle_pj: NonNegative | None = None
    operators: Annotated[list[str], Field(min_length=1)] | None = None

    @field_validator("multiply_pj")
    @classmethod
    def _points_differ(cls, points: list[MultiplyPoint]) -> list[MultiplyPoint]:
        _check_differ("multiply energies", [tuple(point.at_bits) for point in points])
        return points

    @abstractmethod
    def geometry(self) -> Geometry:
        """Return the checked geometry."""

    def native_widths(self) -> tuple[NativeWidth, ...]:
        """Return the pairs that the file gives."""
        return ()

    def unit(self, *, place: str) -> MatrixUnit:
        """Return the checked unit; ``place`` is where its widths stand."""
        return MatrixUnit(
            name=self.name,
            geometry=self.geometry(),
            native=self.native_widths(),
            other_widths=self.other_widths,
            accumulator_bits=self.accumulator_bits.value,
            multiply=tuple(point.energy() for point in self.multiply_pj),
            add=self.add_pj.energy() if self.add_pj else None,
            register_pj_per_bit=self.register_pj_per_bit.quantity() if self.register_pj_per_bit else None,
            toggle_pj=self.toggle_pj.quantity() if self.toggle_pj else None,
            operators=frozenset(self.operators) if self.operators else None,
            place=place,
        )


class NativeMatrixFile(MatrixFile):
    """A unit whose multipliers have fixed widths."""

    native: Annotated[list[NativePair], Field(min_length=1)]

    @field_validator("native")
    @classmethod
    def _pairs_differ(cls, native: list[NativePair]) -> list[NativePair]:
        _check_differ("native widths", [tuple(pair.bits) for pair in native])
        return native

    def native_widths(self) -> tuple[NativeWidth, ...]:
        """Return the pairs that the file gives."""
        return tuple(pair.width() for pair in self.native)


class SystolicFile(NativeMatrixFile):
    """Equal systolic arrays; ``best`` chooses the dataflow per layer."""

    kind: Literal["systolic"]
    rows: Count
    cols: Count
    arrays: Count
    dataflow: Literal["os", "ws", "is", "best"]

    def geometry(self) -> Systolic:
        """Return the checked geometry."""
        return Systolic(
            rows=self.rows.value, cols=self.cols.value, arrays=self.arrays.value, dataflow=self.dataflow
        )


class RowStationaryFile(NativeMatrixFile):
    """Processing elements that each keep rows of inputs, filters and sums (Eyeriss)."""

    kind: Literal["row_stationary"]
    rows: Count
    cols: Count
    ifmap_words: Count
    filter_words: Count
    sum_words: Count

    def geometry(self) -> RowStationary:
        """Return the checked geometry."""
        return RowStationary(
            rows=self.rows.value,
            cols=self.cols.value,
            ifmap_words=self.ifmap_words.value,
            filter_words=self.filter_words.value,
            sum_words=self.sum_words.value,
        )


class BitComposableFile(MatrixFile):
    """Fusion units of ``unit_bits`` whose multipliers of ``min_bits`` join for wider operands (BitFusion)."""

    kind: Literal["bit_composable"]
    rows: Count
    cols: Count
    unit_bits: Count
    min_bits: Count

    def geometry(self) -> BitComposable:
        """Return the checked geometry."""
        return BitComposable(
            rows=self.rows.value,
            cols=self.cols.value,
            unit_bits=self.unit_bits.value,
            min_bits=self.min_bits.value,
        )

    @field_validator("min_bits")
    @classmethod
    def _doublings(cls, min_bits: Count, info: ValidationInfo) -> Count:
        unit = info.data.get("unit_bits")
        if unit is not None and unit.value not in {min_bits.value << times for times in range(7)}:
            raise ValueError(
                f"unit_bits must be min_bits doubled some times, got {unit.value} and {min_bits.value}"
            )
        return min_bits


class DotProductFile(NativeMatrixFile):
    """Units that make ``m x n`` results of ``k`` products each per cycle."""

    kind: Literal["dot_product"]
    m: Count
    n: Count
    k: Count
    units: Count

    def geometry(self) -> DotProduct:
        """Return the checked geometry."""
        return DotProduct(m=self.m.value, n=self.n.value, k=self.k.value, units=self.units.value)


class TensorCoreFile(NativeMatrixFile):
    """Multiprocessors that work on one output tile each, in waves (GPUs)."""

    kind: Literal["tensor_core"]
    units: Count
    macs_per_cycle: Count
    tile_m: Count
    tile_n: Count
    tile_k: Count
    macs_per_word: Positive

    def geometry(self) -> TensorCore:
        """Return the checked geometry."""
        return TensorCore(
            units=self.units.value,
            macs_per_cycle=self.macs_per_cycle.value,
            tile_m=self.tile_m.value,
            tile_n=self.tile_n.value,
            tile_k=self.tile_k.value,
            macs_per_word=self.macs_per_word.value,
        )


AnyMatrixFile = Annotated[
    SystolicFile | RowStationaryFile | BitComposableFile | DotProductFile | TensorCoreFile,
    Field(discriminator="kind"),
]


def _check_differ(what: str, pairs: list[tuple[int, ...]]) -> None:
    again = sorted(pair for pair, times in Counter(pairs).items() if times > 1)
    if again:
        told = ", ".join(f"[{a}, {w}]" for a, w in again)
        raise ValueError(f"{what} must differ from each other; {told} is given twice")
