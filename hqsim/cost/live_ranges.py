"""Which tensors are needed when: the live ranges of layer records, whatever the machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from hqsim.errors import InputError
from hqsim.graph.record import LayerRecord


@dataclass(slots=True)
class Tensor:
    """The largest use of a tensor, and the layers that touch it, in order."""

    size_bytes: float
    produced: bool
    touches: list[int]


@dataclass(frozen=True, kw_only=True)
class LiveRanges:
    """All tensors by name; by layer the bytes of its own tensors, and of all needed in it or across it."""

    tensors: Mapping[str, Tensor]
    own_bytes: Sequence[float]
    live_bytes: Sequence[float]


def live_ranges(records: Sequence[LayerRecord]) -> LiveRanges:
    """Return the live ranges of ``records``, which all realisations of them share.

    Raises
    ------
    InputError
        When two records write the same tensor, or one writes a tensor that was read before.
    """
    tensors = _tensors(records)
    own = [0.0] * len(records)
    for tensor in tensors.values():
        for position in tensor.touches:
            own[position] += tensor.size_bytes
    return LiveRanges(tensors=tensors, own_bytes=own, live_bytes=_live_bytes(tensors.values(), len(records)))


def _tensors(records: Sequence[LayerRecord]) -> dict[str, Tensor]:
    """Return all tensors by name."""
    tensors: dict[str, Tensor] = {}
    produced_by: dict[str, str] = {}
    for position, record in enumerate(records):
        for use in record.inputs:
            size_bytes = use.size_bytes
            tensor = tensors.get(use.name)
            if tensor is None:
                tensors[use.name] = Tensor(size_bytes, False, [position])
                continue
            if size_bytes > tensor.size_bytes:
                tensor.size_bytes = size_bytes
            if tensor.touches[-1] != position:
                tensor.touches.append(position)
        name = record.output.name
        if name in tensors:
            other = f"layer '{produced_by[name]}'" if name in produced_by else "an earlier layer as its input"
            raise InputError(
                f"layer '{record.name}' writes tensor '{name}', which {other} already used; "
                "every record must write a tensor of its own, before it is read."
            )
        produced_by[name] = record.name
        tensors[name] = Tensor(record.output.size_bytes, True, [position])
    return tensors


def _live_bytes(tensors: Iterable[Tensor], layers: int) -> list[float]:
    """Return by layer the size of all tensors that are needed in it or across it."""
    change = [0.0] * (layers + 1)
    for tensor in tensors:
        change[tensor.touches[0]] += tensor.size_bytes
        change[tensor.touches[-1] + 1] -= tensor.size_bytes
    return list(accumulate(change[:-1]))
