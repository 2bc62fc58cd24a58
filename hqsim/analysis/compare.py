"""``hqsim compare``: several recipes of one model, each quantized, traced and costed, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hqsim.analysis.compare_folder import CompareFolder
from hqsim.analysis.compare_work import CompareSettings, CompareWork, Progress
from hqsim.analysis.comparison_table import on_front, run_rows
from hqsim.analysis.run_folder import Run
from hqsim.analysis.trace import PARTS
from hqsim.analysis.verdicts import judge
from hqsim.errors import InputError, unknown_name

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.models import Model
    from hqsim.quantize import Recipe


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """Recipes beside each other.

    Attributes
    ----------
    table
        One row per run and machine: ``run``, ``method``, ``transform`` (none, single, double), ``axis`` (of
        convolutions), ``signs``, ``order``, ``symmetric``, ``trained``, ``weight_bits``, ``activation_bits``;
        ``storage_bits`` (mean over the values of activation operands), ``multiplier_bits`` (largest) and
        ``multiplier_bits_mean`` (by MACs), ``accumulator_bits`` (largest), ``weight_crest`` (largest of a
        layer, in the domain of its codes) and ``weight_crest_median`` (over layers),
        ``model_bytes`` (packed codes and tables); of the integer model
        ``sqnr_db`` with its 95 % bootstrap interval ``sqnr_low_db`` and ``sqnr_high_db``, ``psnr_db``,
        ``frechet_distance``, ``classifier_accuracy``; ``machine`` with ``latency_s``, ``energy_pj`` and
        ``dram_bytes`` of one image; ``pareto_energy`` and ``pareto_latency``: no other run of that machine
        beats or equals it in quality and in cost.
    claims
        The paper's claims: ``claim``, ``source``, ``measured``, ``verdict``, ``detail``.
    left_out
        Why a combination of the grid, or a run on a machine, is not in the table: ``what``, ``reason``.
    """

    table: pd.DataFrame
    claims: pd.DataFrame
    left_out: pd.DataFrame


def compare(
    model: Model,
    recipes: Sequence[Recipe],
    out: str | Path,
    *,
    settings: CompareSettings,
    left_out: Mapping[str, str] = MappingProxyType({}),
    jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[list[Run], Comparison]:
    """Quantize and trace every recipe into ``out``, and bring the runs into one table.

    Models go to ``out/models/NAME``, runs to ``out/runs/NAME``; those that are complete are kept, so a run of
    this function that was killed goes on. ``left_out`` are combinations that a grid dropped, with reasons;
    ``jobs`` recipes are worked on at a time, each in a process that holds the model.

    Returns
    -------
    runs, comparison
        The runs in the order of the recipes, and their tables; ``write_report`` writes them beside the page.

    Raises
    ------
    InputError
        For recipes of the same name, one that does not fit the model, unknown machines, settings that the
        model does not have, or a folder that holds something else.
    """
    import pandas as pd

    _check(model, recipes, settings)
    folder = CompareFolder.open(Path(out), settings.to_json(model))
    report = progress or (lambda *_: None)
    work = CompareWork(model, settings, folder, report)
    work.fill(recipes, jobs)
    runs: list[Run] = []
    rows: list[dict[str, Any]] = []
    curves: dict[str, pd.DataFrame] = {}
    for number, recipe in enumerate(recipes):
        report("recipes", number, len(recipes))
        qmodel = work.quantized(recipe)
        run = work.traced(recipe, qmodel)
        runs.append(run)
        rows += run_rows(run, qmodel, model_bytes=folder.model_bytes(recipe.name))
        if qmodel.training is not None:
            columns = list(qmodel.training.columns)
            curves[run.name] = pd.DataFrame(qmodel.training.curve, columns=columns)
    report("recipes", len(recipes), len(recipes))
    table = pd.DataFrame(rows)
    for name, cost in (("pareto_energy", "energy_pj"), ("pareto_latency", "latency_s")):
        table[name] = on_front(table, cost)
    reasons = {**left_out, **_refused(runs, settings.machines)}
    return runs, Comparison(
        table=table,
        claims=judge(runs, table, curves),
        left_out=pd.DataFrame(reasons.items(), columns=["what", "reason"]),
    )


def _check(model: Model, recipes: Sequence[Recipe], settings: CompareSettings) -> None:
    """Everything that can be refused before any work."""
    from hqsim.cost import load_hardware
    from hqsim.quantize.api import calibration_settings
    from hqsim.quantize.lower import lower

    if not recipes:
        raise InputError("recipes: none was given; name at least one, like 'hqdm-w4a4'")
    names = [recipe.name for recipe in recipes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"recipes: {', '.join(twice)} given more than once; each needs a name of its own")
    for recipe in recipes:
        if "/" in recipe.name or recipe.name in ("", ".", ".."):
            raise InputError(f"recipe '{recipe.name}': its name must be one of a folder")
        lower(model.graph, recipe)
    for machine in settings.machines:
        load_hardware(machine)
    calibration_settings(
        model, steps=settings.steps, images=settings.images, guidance=settings.guidance, seed=settings.seed
    )
    model.schedule.timesteps(settings.steps)
    for part in settings.parts:
        if part not in PARTS:
            raise unknown_name("part", part, PARTS)
    if settings.machines and "cost" not in settings.parts:
        raise InputError(f"machines: got {', '.join(settings.machines)} without the part 'cost'")


def _refused(runs: Sequence[Run], machines: Sequence[str]) -> dict[str, str]:
    """Return the runs that have no cost on a machine."""
    return {
        f"{run.name} on {machine}": "the machine cannot run it; 'hqsim estimate' says why"
        for run in runs
        for machine in machines
        if run.totals.empty or machine not in set(run.totals["machine"])
    }
