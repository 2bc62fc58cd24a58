"""Which tensors stay on chip between layers, from the live ranges of the records.

The outermost on-chip memory, of ``S`` bytes, holds the live activations. A layer's constants (weights
and tables) take ``min(constants, S / 2)`` beside them: larger ones stream through. Then

- a layer whose live set does not fit sends the tensors that it does not touch to DRAM until their next use;
- a layer whose own inputs and output do not fit either streams those from and to DRAM as well;
- when all weights of the model fit beside every layer's live set, they stay for the whole run.

A rule of thresholds, not of packing: shrinking the memory or widening a tensor never lowers the traffic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hqsim.errors import InputError
from hqsim.graph.record import LayerRecord, TensorUse


@dataclass(frozen=True, kw_only=True)
class LayerResidency:
    """What one layer exchanges with DRAM; ``input_from_dram`` goes with the record's inputs.

    ``streams`` tells that the layer's own tensors do not fit on chip; ``live_bytes`` is its live set.
    """

    input_from_dram: tuple[bool, ...]
    output_to_dram: bool
    streams: bool
    live_bytes: float


@dataclass(frozen=True, kw_only=True)
class Residency:
    """The plan of one step; peaks are over its layers."""

    layers: tuple[LayerResidency, ...]
    weights_resident: bool
    weight_bytes: float
    peak_live_bytes: float
    peak_on_chip_bytes: float


@dataclass
class _Tensor:
    size_bytes: float
    produced: bool
    touches: list[int]


def _tensors(records: Sequence[LayerRecord]) -> dict[str, _Tensor]:
    tensors: dict[str, _Tensor] = {}
    produced_by: dict[str, str] = {}

    def touch(use: TensorUse, position: int, *, produced: bool) -> None:
        tensor = tensors.setdefault(use.name, _Tensor(use.size_bytes, produced, []))
        tensor.size_bytes = max(tensor.size_bytes, use.size_bytes)
        if position not in tensor.touches:
            tensor.touches.append(position)

    for position, record in enumerate(records):
        for use in record.inputs:
            touch(use, position, produced=False)
        name = record.output.name
        if name in tensors:
            other = f"layer '{produced_by[name]}'" if name in produced_by else "an earlier layer as its input"
            raise InputError(
                f"layer '{record.name}' writes tensor '{name}', which {other} already used; "
                "every record must write a tensor of its own, before it is read."
            )
        produced_by[name] = record.name
        touch(record.output, position, produced=True)
    return tensors


def weight_bytes(records: Sequence[LayerRecord]) -> float:
    """Return the stored size of all weights; a tensor that several records use counts once."""
    uses = {record.weights.name: record.weights.size_bytes for record in records if record.weights}
    return sum(uses.values())


def plan_residency(records: Sequence[LayerRecord], *, size_bytes: int) -> Residency:
    """Return the plan for an outermost on-chip memory of ``size_bytes``.

    Raises
    ------
    InputError
        When two records write the same tensor, or one writes a tensor that was read before.
    """
    tensors = _tensors(records)
    live = [0.0] * len(records)
    for tensor in tensors.values():
        for position in range(tensor.touches[0], tensor.touches[-1] + 1):
            live[position] += tensor.size_bytes
    weights = weight_bytes(records)
    constants = [
        record.table_bytes + (record.weights.size_bytes if record.weights else 0.0) for record in records
    ]
    beside = [min(constant, size_bytes / 2) for constant in constants]
    touched = [
        sum({use.name: tensors[use.name].size_bytes for use in (*record.inputs, record.output)}.values())
        for record in records
    ]
    overflows = [live_i + beside_i > size_bytes for live_i, beside_i in zip(live, beside, strict=True)]
    streams = [touched_i + beside_i > size_bytes for touched_i, beside_i in zip(touched, beside, strict=True)]
    overflows_before = [0]
    for overflow in overflows:
        overflows_before.append(overflows_before[-1] + overflow)

    def comes_from_dram(tensor: _Tensor, position: int) -> bool:
        if position == tensor.touches[0]:
            return not tensor.produced
        previous = tensor.touches[tensor.touches.index(position) - 1]
        held_through_overflow = overflows_before[position] > overflows_before[previous + 1]
        return held_through_overflow or streams[previous] or streams[position]

    layers = []
    for position, record in enumerate(records):
        names = [use.name for use in record.inputs]
        output = tensors[record.output.name]
        later = output.touches[1:]
        layers.append(
            LayerResidency(
                input_from_dram=tuple(
                    name not in names[:index] and comes_from_dram(tensors[name], position)
                    for index, name in enumerate(names)
                ),
                output_to_dram=not later or any(comes_from_dram(output, use) for use in later),
                streams=streams[position],
                live_bytes=live[position],
            )
        )
    tables = [record.table_bytes for record in records]
    resident_need = weights + max(live_i + table for live_i, table in zip(live, tables, strict=True))
    resident = resident_need <= size_bytes
    on_chip = max(live_i + beside_i for live_i, beside_i in zip(live, beside, strict=True))
    return Residency(
        layers=tuple(layers),
        weights_resident=resident,
        weight_bytes=weights,
        peak_live_bytes=max(live),
        peak_on_chip_bytes=resident_need if resident else min(on_chip, size_bytes),
    )
