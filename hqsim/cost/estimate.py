"""From layer records to the cost of a step and of a whole sampling run."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hqsim.cost.energy import PARTS, Energy
from hqsim.cost.layer import LayerCost, layer_cost
from hqsim.cost.machine import Hardware
from hqsim.cost.residency import Residency, plan_residency
from hqsim.errors import InputError
from hqsim.graph.record import LayerRecord

if TYPE_CHECKING:
    import pandas as pd

_WIDTH_COLUMNS = (
    "multiplier_passes",
    "storage_bits_a",
    "storage_bits_w",
    "multiplier_bits_a",
    "multiplier_bits_w",
    "accumulator_bits",
)


def _add_energy(costs: Sequence[LayerCost]) -> dict[str, Energy]:
    return {part: sum((cost.energy[part] for cost in costs), Energy()) for part in PARTS}


def _energy_pj(energy: Mapping[str, Energy]) -> dict[str, float]:
    parts = {part: energy[part].pj for part in PARTS}
    return {**parts, "total": sum(parts.values())}


def _sums(costs: Sequence[LayerCost], hardware: Hardware) -> dict[str, Any]:
    cycles = sum(cost.cycles for cost in costs)
    macs = sum(cost.macs for cost in costs)
    return {
        "cycles": cycles,
        "latency_s": cycles / hardware.clock_hz,
        "energy_pj": _energy_pj(_add_energy(costs)),
        "dram_bytes": sum(cost.dram_bytes for cost in costs),
        "sram_bytes": sum(cost.sram_bytes for cost in costs),
        "macs": macs,
        "utilization": macs / (cycles * hardware.matrix.cells) if cycles else 0.0,
    }


@dataclass(frozen=True)
class Estimate:
    """Cost of a sequence of records on one accelerator.

    ``costs`` is the first denoising step, which loads its weights; ``warm_costs`` any later one (the
    same unless all weights stay on chip).
    """

    hardware: Hardware
    costs: tuple[LayerCost, ...]
    warm_costs: tuple[LayerCost, ...]
    residency: Residency
    steps: int
    table_bytes_all_steps: float

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row per record, in execution order, of the first step; units in the column names."""
        import pandas as pd

        rows = []
        for cost in self.costs:
            row = _plain(cost)
            energy = row.pop("energy_pj")
            row |= {f"energy_{part}_pj": energy[part] for part in PARTS}
            row["energy_pj"] = energy["total"]
            rows.append(row)
        return pd.DataFrame(rows).astype(dict.fromkeys(_WIDTH_COLUMNS, "Int64"))

    @cached_property
    def total(self) -> dict[str, Any]:
        """Totals of the first step (the sum of ``layers``), and of the run under ``run``.

        ``bound_by`` names the engine or memory that binds the largest share of the cycles,
        ``assumed_energy_share`` is the share of the energy that rests on assumed numbers.
        ``warm_step`` is any step after the first, ``run`` all ``steps`` of them.
        """
        step = _sums(self.costs, self.hardware)
        warm = _sums(self.warm_costs, self.hardware)
        bound: dict[str, int] = defaultdict(int)
        for cost in self.costs:
            bound[cost.bound_by] += cost.cycles
        assumed_pj = sum(part.assumed_pj for part in _add_energy(self.costs).values())
        energy_pj = step["energy_pj"]["total"]
        return {
            **step,
            "bound_by": max(bound, key=lambda name: bound[name]),
            "assumed_energy_share": assumed_pj / energy_pj if energy_pj else 0.0,
            "weight_bytes": self.residency.weight_bytes,
            "table_bytes_all_steps": self.table_bytes_all_steps,
            "weights_resident": self.residency.weights_resident,
            "peak_live_bytes": self.residency.peak_live_bytes,
            "peak_on_chip_bytes": self.residency.peak_on_chip_bytes,
            "layers_over_accumulator": sum(not cost.accumulator_fits for cost in self.costs),
            "warm_step": warm,
            "run": self._run(step, warm),
        }

    def _run(self, step: Mapping[str, Any], warm: Mapping[str, Any]) -> dict[str, Any]:
        later = self.steps - 1
        keys = ("cycles", "dram_bytes", "sram_bytes", "macs")
        run: dict[str, Any] = {"steps": self.steps}
        run |= {key: step[key] + later * warm[key] for key in keys}
        run["latency_s"] = run["cycles"] / self.hardware.clock_hz
        run["energy_pj"] = {
            part: energy + later * warm["energy_pj"][part] for part, energy in step["energy_pj"].items()
        }
        cells = self.hardware.matrix.cells
        run["utilization"] = run["macs"] / (run["cycles"] * cells) if run["cycles"] else 0.0
        return run

    def to_json(self) -> dict[str, Any]:
        """Return plain data with the keys ``hardware``, ``layers`` and ``total``."""
        return {
            "hardware": _plain_value(self.hardware),
            "layers": [_plain(cost) for cost in self.costs],
            "total": self.total,
        }


def _plain_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain_value(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain_value(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain_value(inner) for inner in value]
    return value


def _plain(cost: LayerCost) -> dict[str, Any]:
    row = {field.name: getattr(cost, field.name) for field in dataclasses.fields(cost)}
    row["energy_pj"] = _energy_pj(row.pop("energy"))
    return row


def _check(records: Sequence[LayerRecord], steps: int) -> None:
    if not records:
        raise InputError("estimate: there are no layer records; give at least one.")
    if steps < 1:
        raise InputError(f"estimate: steps must be at least 1, got {steps}.")
    for record in records:
        if record.matrix and len(record.inputs) < (1 if record.weights else 2):
            raise InputError(
                f"layer '{record.name}' multiplies {len(record.inputs)} input and has no weights; "
                "a product needs an input and weights, or two inputs."
            )


def estimate_records(records: Sequence[LayerRecord], hardware: Hardware, *, steps: int = 1) -> Estimate:
    """Estimate what executing ``records`` in order costs, once and for ``steps`` denoising steps.

    The batch (guidance included) is part of the records' element counts.

    Raises
    ------
    InputError
        Without records, for ``steps`` below 1, or for records that contradict each other.
    UnsupportedError
        For operand widths that the machine's multipliers do not cover, or a layer that fits nowhere.
    """
    _check(records, steps)
    size_bytes = hardware.on_chip[-1].size_bytes or 0
    residency = plan_residency(records, size_bytes=size_bytes)
    pairs = list(zip(records, residency.layers, strict=True))
    costs = tuple(layer_cost(record, hardware, residency=layer) for record, layer in pairs)
    warm_costs = costs
    if residency.weights_resident:
        warm_costs = tuple(
            layer_cost(record, hardware, residency=layer, weights_from_dram=False) for record, layer in pairs
        )
    return Estimate(
        hardware=hardware,
        costs=costs,
        warm_costs=warm_costs,
        residency=residency,
        steps=steps,
        table_bytes_all_steps=sum(record.table_bytes_all_steps for record in records),
    )
