"""The cheapest way to run each layer on one machine; layers of the same shape are computed once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from hqsim.cost.candidates import candidates
from hqsim.cost.layer import LayerCost, layer_cost
from hqsim.cost.machine import Hardware
from hqsim.cost.mapping import LayerMapping
from hqsim.cost.residency import LayerResidency
from hqsim.cost.schedule import engine_cycles
from hqsim.errors import UnsupportedError
from hqsim.graph.record import LayerRecord


@dataclass(frozen=True)
class Pricing:
    """Prices of layers on ``hardware``; ``policy`` says which realisations may be chosen.

    Prices carry the name, operator and module of the first layer of their shape.
    """

    hardware: Hardware
    policy: str
    _known: dict[Hashable, LayerCost] = field(default_factory=dict, init=False, repr=False)

    def price(
        self,
        record: LayerRecord,
        *,
        shape: int,
        residency: LayerResidency,
        wanted: LayerMapping,
        weights_from_dram: bool = True,
        zero_fraction: float = 0.0,
        toggles: tuple[float, ...] = (),
    ) -> LayerCost:
        """Return the layer's cost where it takes the fewest cycles, then the least energy.

        ``shape`` is the number of its shape.

        Raises
        ------
        UnsupportedError
            When the machine cannot run the layer in any realisation that is allowed: every reason.
        InputError
            For a mapping that asks for something that the machine or the layer does not have.
        """
        exchange = (residency.input_from_dram, residency.output_to_dram, residency.streams)
        key = (shape, exchange, wanted, weights_from_dram, zero_fraction, toggles)
        cost = self._known.get(key)
        if cost is None:
            cost = self._cheapest(record, residency, wanted, weights_from_dram, zero_fraction, toggles)
            self._known[key] = cost
        return cost

    def _cheapest(
        self,
        record: LayerRecord,
        residency: LayerResidency,
        wanted: LayerMapping,
        weights_from_dram: bool,
        zero_fraction: float,
        toggles: tuple[float, ...],
    ) -> LayerCost:
        options = candidates(record, self.hardware, wanted=wanted, policy=self.policy)
        engines = [engine_cycles(option.record, self.hardware, option.runs) for option in options]
        best: LayerCost | None = None
        reasons: dict[str, None] = {}
        for option, busy in sorted(zip(options, engines, strict=True), key=lambda pair: pair[1].together):
            if best is not None and busy.together > best.cycles:
                break
            # Codes were measured in the lowered realisation and say nothing of others.
            measured = option.record.realisation == record.realisation
            try:
                cost = layer_cost(
                    option,
                    self.hardware,
                    engines=busy,
                    residency=residency,
                    tiles=wanted.tiles,
                    weights_from_dram=weights_from_dram,
                    zero_fraction=zero_fraction if measured else 0.0,
                    toggles=toggles if measured else (),
                )
            except UnsupportedError as error:
                reasons[str(error)] = None
                continue
            if best is None or (cost.cycles, cost.energy_pj) < (best.cycles, best.energy_pj):
                best = cost
        if best is None:
            raise UnsupportedError("\n".join(reasons))
        return best
