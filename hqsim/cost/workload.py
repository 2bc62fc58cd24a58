"""Layer records and what every estimate of them needs, whatever the machine: computed once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

from hqsim.cost.live_ranges import LiveRanges, live_ranges
from hqsim.graph.record import LayerRecord, TensorUse


@dataclass(frozen=True)
class Workload:
    """``records`` in execution order. One workload for many estimates saves its part of each."""

    records: tuple[LayerRecord, ...]

    @cached_property
    def shapes(self) -> tuple[int, ...]:
        """By record a number, the same for records that differ in names alone."""
        numbers: dict[Hashable, int] = {}
        return tuple([numbers.setdefault(shape_of(record), len(numbers)) for record in self.records])

    @cached_property
    def live_ranges(self) -> LiveRanges:
        """Which tensors are needed when."""
        return live_ranges(self.records)


def shape_of(record: LayerRecord) -> Hashable:
    """Return everything of a record that its cost depends on: all but names."""
    return (
        record.op,
        tuple([_size(use) for use in record.inputs]),
        _size(record.output),
        _size(record.weights),
        record.matrix,
        record.hadamard,
        tuple(record.vector.items()),
        record.table_bytes,
        record.realisation,
        record.parity,
        tuple(
            [
                (
                    name,
                    variant.matrix,
                    variant.hadamard,
                    variant.table_bytes,
                    variant.parity,
                    *variant.vector.items(),
                )
                for name, variant in record.variants.items()
            ]
        ),
    )


def _size(use: TensorUse | None) -> tuple[int, int] | None:
    return (use.elements, use.bits) if use else None
