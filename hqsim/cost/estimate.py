"""From layer records to the cost of a step and of a whole sampling run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Any

from hqsim.cost.candidates import POLICIES, realised
from hqsim.cost.energy import PARTS, Energy
from hqsim.cost.hardware import hardware_json, plain_value
from hqsim.cost.layer import LayerCost
from hqsim.cost.machine import Hardware
from hqsim.cost.mapping import FREE, MappingRules
from hqsim.cost.pricing import Pricing
from hqsim.cost.residency import Residency, plan_residency
from hqsim.cost.workload import Workload
from hqsim.errors import InputError, unknown_name
from hqsim.graph.garbage import uncollected
from hqsim.graph.record import LayerRecord

if TYPE_CHECKING:
    import pandas as pd

_COUNT_COLUMNS = (
    "folds",
    "multiplier_passes",
    "storage_bits_a",
    "storage_bits_w",
    "multiplier_bits_a",
    "multiplier_bits_w",
    "accumulator_bits",
)


def _energy_pj(energy: Mapping[str, Energy]) -> dict[str, float]:
    parts = {part: energy[part].pj for part in PARTS}
    return {**parts, "total": sum(parts.values())}


def _sum_energy_pj(costs: Sequence[LayerCost]) -> dict[str, float]:
    parts = {part: sum(cost.energy[part].pj for cost in costs) for part in PARTS}
    return {**parts, "total": sum(parts.values())}


def _sums(costs: Sequence[LayerCost], hardware: Hardware) -> dict[str, Any]:
    cycles = sum(cost.cycles for cost in costs)
    return {
        "cycles": cycles,
        "latency_s": cycles / hardware.clock_hz,
        "energy_pj": _sum_energy_pj(costs),
        "dram_bytes": sum(cost.dram_bytes for cost in costs),
        "sram_bytes": sum(cost.sram_bytes for cost in costs),
        "macs": sum(cost.macs for cost in costs),
        "parity_macs": sum(cost.parity_macs for cost in costs),
        "utilization": sum(cost.utilization * cost.cycles for cost in costs) / cycles if cycles else 0.0,
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
            row["mapping"] = cost.mapping.text
            energy = row.pop("energy_pj")
            row |= {f"energy_{part}_pj": energy[part] for part in PARTS}
            row["energy_pj"] = energy["total"]
            for unit in ("cycles", "bytes"):
                by_level = row.pop(f"level_{unit}")
                row |= {f"level_{name}_{unit}": value for name, value in by_level.items()}
            rows.append(row)
        return pd.DataFrame(rows).astype(dict.fromkeys(_COUNT_COLUMNS, "Int64"))

    @cached_property
    def total(self) -> dict[str, Any]:
        """Totals of the first step (the sum of ``layers``), and of the run under ``run``.

        ``bound_by`` names the engine or memory that binds the largest share of the cycles,
        ``parity_macs`` are the products of parity terms, on top of ``macs``, those of the model as published,
        ``utilization`` is the mean over the time of the layers' utilization,
        ``assumed_energy_share`` is the share of the energy that rests on assumed numbers.
        ``warm_step`` is any step after the first, ``run`` all ``steps`` of them.
        """
        step = _sums(self.costs, self.hardware)
        warm = step if self.warm_costs is self.costs else _sums(self.warm_costs, self.hardware)
        bound: dict[str, int] = defaultdict(int)
        for cost in self.costs:
            bound[cost.bound_by] += cost.cycles
        assumed_pj = sum(part.assumed_pj for cost in self.costs for part in cost.energy.values())
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
            "warm_step": dict(warm),
            "run": self._run(step, warm),
        }

    def _run(self, step: Mapping[str, Any], warm: Mapping[str, Any]) -> dict[str, Any]:
        later = self.steps - 1
        keys = ("cycles", "dram_bytes", "sram_bytes", "macs", "parity_macs")
        run: dict[str, Any] = {"steps": self.steps}
        run |= {key: step[key] + later * warm[key] for key in keys}
        run["latency_s"] = run["cycles"] / self.hardware.clock_hz
        run["energy_pj"] = {
            part: energy + later * warm["energy_pj"][part] for part, energy in step["energy_pj"].items()
        }
        busy = step["utilization"] * step["cycles"] + later * warm["utilization"] * warm["cycles"]
        run["utilization"] = busy / run["cycles"] if run["cycles"] else 0.0
        return run

    def to_json(self) -> dict[str, Any]:
        """Return plain data with the keys ``hardware``, ``layers`` and ``total``."""
        return {
            "hardware": hardware_json(self.hardware),
            "layers": [_plain(cost) for cost in self.costs],
            "total": self.total,
        }


def _plain(cost: LayerCost) -> dict[str, Any]:
    row = {item.name: plain_value(getattr(cost, item.name)) for item in fields(cost) if item.name != "energy"}
    row["energy_pj"] = _energy_pj(cost.energy)
    return row


def _check(
    records: Sequence[LayerRecord],
    steps: int,
    realisation: str,
    zero_fractions: Mapping[str, float],
    toggles: Mapping[str, Sequence[float]],
) -> None:
    if not records:
        raise InputError("estimate: there are no layer records; give at least one.")
    if steps < 1:
        raise InputError(f"estimate: steps must be at least 1, got {steps}.")
    if realisation not in POLICIES:
        raise unknown_name("realisation", realisation, POLICIES)
    for record in records:
        if record.matrix and len(record.inputs) < (1 if record.weights else 2):
            raise InputError(
                f"layer '{record.name}' multiplies {len(record.inputs)} input and has no weights; "
                "a product needs an input and weights, or two inputs."
            )
    names = {record.name for record in records}
    for name, fraction in zero_fractions.items():
        if name not in names:
            raise unknown_name("layer in zero_fractions", name, names)
        if not 0.0 <= fraction <= 1.0:
            raise InputError(f"zero_fractions: '{name}' has {fraction}, allowed 0 to 1.")
    for name, shares in toggles.items():
        if name not in names:
            raise unknown_name("layer in toggles", name, names)
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise InputError(f"toggles: '{name}' has {list(shares)}, allowed 0 to 1 for every bit.")


@uncollected()
def estimate_records(
    records: Sequence[LayerRecord] | Workload,
    hardware: Hardware,
    *,
    steps: int = 1,
    mapping: MappingRules | None = None,
    realisation: str = "best",
    zero_fractions: Mapping[str, float] | None = None,
    toggles: Mapping[str, Sequence[float]] | None = None,
) -> Estimate:
    """Estimate what executing ``records`` in order costs, once and for ``steps`` denoising steps.

    The batch (guidance included) is part of the records' element counts. Every layer takes the matrix unit
    and the realisation that need the fewest cycles, then the least energy, each with the tiles that take the
    least time, then move the fewest bytes. Which tensors stay on chip is planned with weights and tables as
    lowered, or as ``mapping`` says; where the choice changes their size, it is planned again with the chosen
    ones, and the choice stays. Many estimates of the same records are faster with one :class:`Workload`.

    Parameters
    ----------
    mapping
        Rules that fix the unit, dataflow, realisation or tiles of some layers.
    realisation
        ``best``; ``as_lowered``; or ``runtime``, ``fold`` or ``parity`` wherever a layer has it.
    zero_fractions
        Share of the multiplications of a layer, as lowered, that have a zero operand code, by layer.
    toggles
        Shares of consecutive operands of a layer, as lowered, in which each bit changes, lowest bit first.

    Raises
    ------
    InputError
        Without records, for ``steps`` below 1, for records that contradict each other, or a mapping with a
        rule for no layer, or that asks for what the machine or a layer does not have.
    UnsupportedError
        For operand widths that the machine's multipliers do not cover, or a layer that fits nowhere.
    """
    work = records if isinstance(records, Workload) else Workload(tuple(records))
    records = work.records
    _check(records, steps, realisation, zero_fractions or {}, toggles or {})
    zeros = [0.0] * len(records)
    changing: list[tuple[float, ...]] = [()] * len(records)
    if zero_fractions:
        zeros = [zero_fractions.get(record.name, 0.0) for record in records]
    if toggles:
        changing = [tuple(toggles.get(record.name, ())) for record in records]
    pricing = Pricing(hardware, realisation)
    wanted = [FREE] * len(records)
    if mapping:
        mapping.check(record.name for record in records)
        wanted = [mapping.for_layer(record.name) for record in records]

    # What a mapping fixes is known before the choice.
    planned = [
        realised(record, want.realisation) if want.realisation in record.variants else record
        for record, want in zip(records, wanted, strict=True)
    ]
    residency = plan_residency(planned, hardware.on_chip, work.live_ranges)
    prices = pricing.prices(
        zip(records, work.shapes, residency.layers, wanted, repeat(True), zeros, changing, strict=False)
    )

    def as_chosen(plan: Residency, numbers: Sequence[int], *, cold: bool) -> list[LayerCost]:
        """Return the prices with those of some layers for another plan, or for a step that is not the first.

        Unit, dataflow and realisation stay as chosen; tiles are chosen anew, within what is wanted.
        """
        fixed = {number: replace(prices[number].mapping, tiles=wanted[number].tiles) for number in numbers}
        again = pricing.prices(
            (
                *(records[number], work.shapes[number], plan.layers[number], mapping),
                *(cold, zeros[number], changing[number]),
            )
            for number, mapping in fixed.items()
        )
        known = dict(zip(numbers, again, strict=True))
        return [known.get(number, cost) for number, cost in enumerate(prices)]

    executed = [realised(record, cost.realisation) for record, cost in zip(records, prices, strict=True)]
    changed = [pair for pair in zip(executed, planned, strict=True) if pair[0] is not pair[1]]
    if any(_constants(new) != _constants(old) for new, old in changed):
        before, residency = residency, plan_residency(executed, hardware.on_chip, work.live_ranges)
        layers = enumerate(zip(before.layers, residency.layers, strict=True))
        others = [number for number, (old, new) in layers if old.exchange != new.exchange]
        prices = as_chosen(residency, others, cold=True)
    costs = warm_costs = tuple(_in_order(records, prices))
    if residency.weights_resident:
        weighted = [number for number, record in enumerate(records) if record.weights]
        warm_costs = tuple(_in_order(records, as_chosen(residency, weighted, cold=False)))
    return Estimate(
        hardware=hardware,
        costs=costs,
        warm_costs=warm_costs,
        residency=residency,
        steps=steps,
        table_bytes_all_steps=sum(record.table_bytes_all_steps for record in executed),
    )


def _constants(record: LayerRecord) -> tuple[float, float]:
    return record.weight_bytes, record.table_bytes


def _in_order(records: Sequence[LayerRecord], prices: Sequence[LayerCost]) -> Iterator[LayerCost]:
    """Each layer's own price: under its name, from the cycle in which it starts."""
    start = 0
    for record, cost in zip(records, prices, strict=True):
        yield cost.as_cost_of(record, start_cycle=start)
        start += cost.cycles
