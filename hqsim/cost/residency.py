"""Which tensors stay on chip between layers, from the live ranges of the records.

The outermost on-chip memory that holds activations, of ``S`` bytes, holds the live ones. Those of a layer's
constants (weights and tables) that it holds too take ``min(constants, S / 2)`` beside them: larger ones
stream through. Then

- a layer whose live set does not fit sends the tensors that it does not touch to DRAM until their next use;
- a layer whose own inputs and output do not fit either streams those from and to DRAM as well;
- when all weights of the model fit the outermost on-chip memory that holds weights, beside every layer's
  live set and tables where it holds those, they stay for the whole run.

A rule of thresholds, not of packing: shrinking the memory or widening a tensor never lowers the traffic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

from hqsim.cost.live_ranges import LiveRanges, Tensor, live_ranges
from hqsim.cost.machine import MemoryLevel
from hqsim.graph.record import LayerRecord, TensorUse


class LayerResidency(NamedTuple):
    """What one layer exchanges with DRAM; ``input_from_dram`` goes with the record's inputs.

    ``streams`` tells that the layer's own tensors do not fit on chip; ``live_bytes`` is its live set.
    """

    input_from_dram: tuple[bool, ...]
    output_to_dram: bool
    streams: bool
    live_bytes: float

    @property
    def exchange(self) -> tuple[tuple[bool, ...], bool, bool]:
        """All that the layer's cost depends on."""
        return self[:3]


@dataclass(frozen=True, kw_only=True)
class Residency:
    """The plan of one step; peaks are over its layers."""

    layers: tuple[LayerResidency, ...]
    weights_resident: bool
    weight_bytes: float
    peak_live_bytes: float
    peak_on_chip_bytes: float


def weight_bytes(records: Sequence[LayerRecord]) -> float:
    """Return the stored size of all weights; a tensor that several records use counts once."""
    uses = {record.weights.name: record.weight_bytes for record in records if record.weights}
    return sum(uses.values())


def home_of(kind: str, on_chip: Sequence[MemoryLevel]) -> MemoryLevel | None:
    """Return the outermost on-chip memory that holds ``kind``; None: only DRAM does."""
    return next((level for level in reversed(on_chip) if kind in level.holds), None)


def constant_bytes(record: LayerRecord, home: MemoryLevel | None) -> float:
    """Return what the layer's weights and tables take in ``home``, as far as it holds them."""
    holds = home.holds if home else frozenset()
    weights = record.weight_bytes if "weights" in holds else 0.0
    return weights + (record.table_bytes if "tables" in holds else 0.0)


def plan_residency(
    records: Sequence[LayerRecord], on_chip: Sequence[MemoryLevel], ranges: LiveRanges | None = None
) -> Residency:
    """Return the plan for the on-chip memories ``on_chip``, from the array outward.

    ``ranges``, where they are known, are those of ``records`` in any realisation.

    Raises
    ------
    InputError
        When two records write the same tensor, or one writes a tensor that was read before.
    """
    ranges = ranges or live_ranges(records)
    tensors, live = ranges.tensors, ranges.live_bytes
    home = home_of("activations", on_chip)
    size_bytes = (home.size_bytes if home else None) or 0
    beside = [min(constant_bytes(record, home), size_bytes / 2) for record in records]
    streams = [own + beside_i > size_bytes for own, beside_i in zip(ranges.own_bytes, beside, strict=True)]
    overflows = [live_i + beside_i > size_bytes for live_i, beside_i in zip(live, beside, strict=True)]
    fetched, stored = _exchange(tensors, streams, overflows)
    layers = []
    for position, record in enumerate(records):
        come = fetched.get(position)
        layers.append(
            LayerResidency(
                _first_of(come, record.inputs) if come else (False,) * len(record.inputs),
                record.output.name in stored,
                streams[position],
                live[position],
            )
        )
    weights = weight_bytes(records)
    weight_home = home_of("weights", on_chip)
    need = weights + _most_beside(records, live, weight_home)
    resident = weight_home is not None and need <= (weight_home.size_bytes or 0)
    peak = max(live_i + beside_i for live_i, beside_i in zip(live, beside, strict=True))
    return Residency(
        layers=tuple(layers),
        weights_resident=resident,
        weight_bytes=weights,
        peak_live_bytes=max(live),
        peak_on_chip_bytes=need if resident and weight_home is home else min(peak, size_bytes),
    )


def _first_of(names: Set[str], uses: Sequence[TensorUse]) -> tuple[bool, ...]:
    """Tell of each of ``uses`` whether it is the first one of a tensor among ``names``."""
    seen = [use.name for use in uses]
    return tuple([name in names and seen.index(name) == index for index, name in enumerate(seen)])


def _exchange(
    tensors: Mapping[str, Tensor], streams: Sequence[bool], overflows: Sequence[bool]
) -> tuple[Mapping[int, set[str]], set[str]]:
    """Return by layer which tensors come to it from DRAM, and which results go there.

    Those that come are model inputs at their first use, what a layer or its last user streams, and what was
    held through a layer whose live set overflows. Results that nothing reads, or that come back, go there.
    """
    overflows_before = list(accumulate(overflows, initial=0))
    fetched: dict[int, set[str]] = defaultdict(set)
    stored = set()
    for name, tensor in tensors.items():
        touches = tensor.touches
        if not tensor.produced:
            fetched[touches[0]].add(name)
        elif len(touches) == 1:
            stored.add(name)
        for previous, position in pairwise(touches):
            held_through = overflows_before[position] > overflows_before[previous + 1]
            if held_through or streams[previous] or streams[position]:
                fetched[position].add(name)
                stored.add(name)
    return fetched, stored


def _most_beside(records: Sequence[LayerRecord], live: Sequence[float], home: MemoryLevel | None) -> float:
    """Return the most that lies beside all weights in their memory: what is live, and a layer's tables."""
    holds = home.holds if home else frozenset()
    return max(
        (live_bytes if "activations" in holds else 0.0) + (record.table_bytes if "tables" in holds else 0.0)
        for record, live_bytes in zip(records, live, strict=True)
    )
