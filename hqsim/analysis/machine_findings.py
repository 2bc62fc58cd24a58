"""Findings about what a run costs on a machine, in words; a rule that does not apply is silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from hqsim.report import Finding

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.analysis.run_folder import Run

BOUND_PERCENT = 30.0
TRANSFORM_PERCENT = 10.0
PASSES_PERCENT = 1.0
ZERO_PERCENT = 50.0
ASSUMED_PERCENT = 50.0
MOST = 8
"""Layers that a rule about shares names at most, the largest first."""


def by_machine(rule: Callable[[str, pd.DataFrame], Iterator[Finding]]) -> Callable[[Run], Iterator[Finding]]:
    """Make a rule about one machine's costs one about a run: it is asked for each machine."""

    def of_run(run: Run) -> Iterator[Finding]:
        if not run.cost.empty:
            for machine, costs in run.cost.groupby("machine", sort=False):
                yield from rule(str(machine), costs)

    of_run.__doc__ = rule.__doc__
    return of_run


def weights_from_dram(machine: str, costs: pd.DataFrame) -> Iterator[Finding]:
    """Speak of a step that waits for weights from DRAM."""
    bound = costs[(costs["bound_by"] == "dram") & (costs["weight_bytes"] > costs["dram_bytes"] / 2)]
    share = _share(bound, costs)
    if share >= BOUND_PERCENT:
        yield Finding(
            "weights_from_dram",
            f"On {machine} weights from DRAM bind {share:.0f} % of the time, in {len(bound)} layers.",
            "Each weight is read once per step and used too seldom to hide the transfer.",
            "fewer weight bits, a larger batch, or on-chip memory that holds the weights over all steps.",
            _largest(bound, "cycles"),
        )


def activations_from_dram(machine: str, costs: pd.DataFrame) -> Iterator[Finding]:
    """Speak of a step that waits for activations to and from DRAM."""
    bound = costs[(costs["bound_by"] == "dram") & (costs["weight_bytes"] <= costs["dram_bytes"] / 2)]
    share = _share(bound, costs)
    if share >= BOUND_PERCENT:
        yield Finding(
            "activations_from_dram",
            f"On {machine} activations in DRAM bind {share:.0f} % of the time, in {len(bound)} layers.",
            "The tensors between layers do not fit on the chip.",
            "fewer activation bits, a larger buffer, or fused layers.",
            _largest(bound, "cycles"),
        )


def vector_bound(machine: str, costs: pd.DataFrame) -> Iterator[Finding]:
    """Speak of a step that waits for the vector unit."""
    bound = costs[costs["bound_by"] == "vector"]
    share = _share(bound, costs)
    if share >= BOUND_PERCENT:
        yield Finding(
            "vector_bound",
            f"On {machine} the vector unit binds {share:.0f} % of the time, in {len(bound)} layers.",
            "Norms, activations and sums have few operations per value, and all of them pass this unit.",
            "more vector lanes; narrower products do not help here.",
            _largest(bound, "cycles"),
        )


def transform_costs(machine: str, costs: pd.DataFrame) -> Iterator[Finding]:
    """Speak of a transform that takes much of the time or of the energy."""
    bound = costs[costs["bound_by"] == "hadamard"]
    time, energy_pj = _share(bound, costs), costs["energy_hadamard_pj"]
    energy = 100.0 * energy_pj.sum() / (costs["energy_pj"].sum() or 1.0)
    if max(time, energy) >= TRANSFORM_PERCENT:
        yield Finding(
            "transform_costs",
            f"On {machine} the transform takes {energy:.0f} % of the energy and binds {time:.0f} % of time.",
            "It is computed at run time, on the operands' way to the multipliers or in a unit of its own.",
            "a lower order, or folding it into the weights where the layer allows it.",
            _largest(costs[energy_pj > 0], "energy_hadamard_pj"),
        )


def wide_multiplier(machine: str, costs: pd.DataFrame) -> Iterator[Finding]:
    """Speak of operands that need several passes over the multipliers because of their transform."""
    passes = costs["multiplier_passes"].fillna(1) > 1
    wider = costs["multiplier_bits_a"] > costs["storage_bits_a"]
    wide = costs[passes & wider.fillna(False).astype(bool)]
    macs = 100.0 * wide["macs"].sum() / (costs["macs"].sum() or 1)
    if macs >= PASSES_PERCENT:
        yield Finding(
            "wide_multiplier",
            f"On {machine} {len(wide)} layers ({macs:.0f} % of the products) need more than one pass: their "
            f"operand has up to {wide['multiplier_bits_a'].max():.0f} bits at the multiplier.",
            "A single transform is undone on the operand, which widens it beyond the native width.",
            "a lower order in these layers, or multipliers that natively take this width.",
            _largest(wide, "macs"),
        )


def narrow_accumulator(machine: str, costs: pd.DataFrame) -> Iterator[Finding]:
    """Speak of layers whose proved sums do not fit the machine's accumulators."""
    fits = costs["accumulator_fits"].fillna(True).astype(bool)
    over = costs[~fits]
    if not over.empty:
        yield Finding(
            "narrow_accumulator",
            f"The accumulators of {machine} are too narrow for {len(over)} layers, which need up to "
            f"{over['accumulator_bits'].max():.0f} bits.",
            "The bound holds for every input; a sum beyond the width would wrap around.",
            "cut these sums in parts, or a machine with wider accumulators.",
            _largest(over, "accumulator_bits"),
        )


def zeros_dominate(run: Run) -> Iterator[Finding]:
    """Speak of operands that are mostly zero codes."""
    if run.codes.empty:
        return
    percent = run.codes.groupby("layer", sort=False)["zero_percent"].mean()
    percent = percent[percent >= ZERO_PERCENT].sort_values(ascending=False, kind="stable")
    if not percent.empty:
        yield Finding(
            "zeros_dominate",
            f"Zero codes dominate in {len(percent)} layers, up to {percent.iloc[0]:.0f} %: gating pays.",
            "A multiplier that sees a zero need not switch; the estimate counts this on machines that gate.",
            "a machine that gates on zeros, and estimates that are fed with this run's zero fractions.",
            tuple(str(layer) for layer in percent.index),
        )


def assumed_energy(run: Run) -> Iterator[Finding]:
    """Speak of machines whose energy rests mostly on assumed figures."""
    if "assumed_energy_percent" not in run.totals:
        return
    for row in run.totals.to_dict("records"):
        if row["assumed_energy_percent"] >= ASSUMED_PERCENT:
            yield Finding(
                "assumed_energy",
                f"On {row['machine']} {row['assumed_energy_percent']:.0f} % of the energy rests on assumed "
                "figures.",
                "Its description has no published energy for these operations or memories.",
                "trust ratios between recipes on this machine more than its joules.",
            )


MACHINE_RULES: Sequence[Callable[[Run], Iterator[Finding]]] = (
    by_machine(narrow_accumulator),
    by_machine(wide_multiplier),
    by_machine(weights_from_dram),
    by_machine(activations_from_dram),
    by_machine(vector_bound),
    by_machine(transform_costs),
    zeros_dominate,
    assumed_energy,
)


def _share(part: pd.DataFrame, whole: pd.DataFrame) -> float:
    """Percent of the step's cycles that ``part`` takes."""
    return float(100.0 * part["cycles"].sum() / (whole["cycles"].sum() or 1))


def _largest(frame: pd.DataFrame, column: str) -> tuple[str, ...]:
    ordered = frame.sort_values(column, ascending=False, kind="stable")
    return tuple(ordered["name"].astype(str).head(MOST))
