"""The cheapest way to run each layer on one machine; layers of the same shape are computed once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from hqsim.cost.candidates import Candidate, candidates
from hqsim.cost.layer import LayerCost, layer_cost
from hqsim.cost.machine import Hardware
from hqsim.cost.mapping import LayerMapping
from hqsim.cost.memory import layer_demand
from hqsim.cost.residency import LayerResidency
from hqsim.cost.schedule import EngineCycles, engine_cycles
from hqsim.cost.tiling import search_tiles
from hqsim.errors import UnsupportedError
from hqsim.graph.record import LayerRecord


class Request(NamedTuple):
    """A layer whose price is wanted; ``shape`` is the number of its shape."""

    record: LayerRecord
    shape: int
    residency: LayerResidency
    wanted: LayerMapping
    weights_from_dram: bool
    zero_fraction: float
    toggles: tuple[float, ...]


_Option = tuple[Candidate, EngineCycles]


@dataclass
class _Open:
    """A layer on its way to its price: what may still be better than the ``best``, and why others cannot.

    ``options`` whose engines take the same time stand together, the fastest first.
    """

    request: Request
    options: Iterator[list[_Option]]
    best: LayerCost | None = None
    reasons: dict[str, None] = field(default_factory=dict)

    def next(self) -> list[_Option]:
        """Return the next options, none when no other one can be better."""
        options = next(self.options, [])
        return [option for option in options if not self.best or option[1].together <= self.best.cycles]

    def offer(self, cost: LayerCost) -> None:
        """Take the cost if it has the fewest cycles, then the least energy, so far."""
        if self.best is None or (cost.cycles, cost.energy_pj) < (self.best.cycles, self.best.energy_pj):
            self.best = cost


@dataclass(frozen=True)
class Pricing:
    """Prices of layers on ``hardware``; ``policy`` says which realisations may be chosen.

    Prices carry the name, operator and module of the first layer of their shape.
    """

    hardware: Hardware
    policy: str
    _known: dict[Hashable, LayerCost] = field(default_factory=dict, init=False, repr=False)

    def prices(self, requests: Iterable[tuple[Any, ...]]) -> list[LayerCost]:
        """Return every layer's cost where it takes the fewest cycles, then the least energy.

        ``requests`` have the fields of `Request`.

        Raises
        ------
        UnsupportedError
            When the machine cannot run a layer in any realisation that is allowed: every reason.
        InputError
            For a mapping that asks for something that the machine or the layer does not have.
        """
        numbers: dict[Hashable, int] = {}
        first: list[Request] = []
        same: list[int] = []
        for record, shape, residency, *others in requests:
            # All that the price depends on.
            number = numbers.setdefault((shape, residency.exchange, *others), len(numbers))
            if number == len(first):
                first.append(Request(record, shape, residency, *others))
            same.append(number)
        opened: dict[Hashable, _Open] = {}
        refusal: UnsupportedError | None = None
        for key, number in numbers.items():
            if key in self._known:
                continue
            try:
                opened[key] = self._open(first[number])
            except UnsupportedError as error:
                # A layer before it may have no price either, and is to be told first.
                refusal = error
                break
        self._settle(list(opened.values()))
        for key, layer in opened.items():
            if layer.best is None:
                raise UnsupportedError("\n".join(layer.reasons))
            self._known[key] = layer.best
        if refusal:
            raise refusal
        known = [self._known[key] for key in numbers]
        return [known[number] for number in same]

    def _open(self, request: Request) -> _Open:
        options = candidates(request.record, self.hardware, wanted=request.wanted, policy=self.policy)
        busy = [(option, engine_cycles(option.record, self.hardware, option.runs)) for option in options]
        by_time = groupby(sorted(busy, key=_together), key=_together)
        return _Open(request, iter([list(options) for _, options in by_time]))

    def _settle(self, layers: Sequence[_Open]) -> None:
        """Try the options of all layers in turn: tiles are searched for many at once."""
        while trials := [(layer, option) for layer in layers for option in layer.next()]:
            demands = [
                layer_demand(
                    option.record,
                    self.hardware,
                    runs=option.runs,
                    residency=layer.request.residency,
                    engine_cycles=engines.together,
                    tiles=layer.request.wanted.tiles,
                    weights_from_dram=layer.request.weights_from_dram,
                )
                for layer, (option, engines) in trials
            ]
            found = iter(search_tiles([each.tiled.search for each in demands if each.tiled], self.hardware))
            for (layer, (option, engines)), demand in zip(trials, demands, strict=True):
                # Codes were measured in the lowered realisation and say nothing of others.
                measured = option.record.realisation == layer.request.record.realisation
                try:
                    cost = layer_cost(
                        option,
                        self.hardware,
                        engines=engines,
                        traffic=demand.traffic(next(found) if demand.tiled else None),
                        zero_fraction=layer.request.zero_fraction if measured else 0.0,
                        toggles=layer.request.toggles if measured else (),
                    )
                except UnsupportedError as error:
                    layer.reasons[str(error)] = None
                else:
                    layer.offer(cost)
            layers = list({id(layer): layer for layer, _ in trials}.values())


def _together(option: _Option) -> int:
    return option[1].together
