"""``hqsim.estimate``: layer records of a model (quantized, or under a recipe) on a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hqsim.analysis.activity import Activity, activity_of, check_run, observed_bits
from hqsim.cost import Estimate, Hardware, Workload, estimate_records, load_hardware
from hqsim.errors import InputError, UnsupportedError
from hqsim.graph.garbage import uncollected

if TYPE_CHECKING:
    from hqsim.analysis.run_folder import Run
    from hqsim.cost.mapping import MappingRules
    from hqsim.graph import LayerRecord
    from hqsim.models import Model
    from hqsim.quantize import QuantizedModel, Recipe

DEFAULT_RECIPE = "ptq-w8a8"
"""Widths of a plain model when no recipe is named."""


@uncollected()
def estimate(
    model: Model | QuantizedModel | str | Path,
    hardware: Hardware | str | Path,
    *,
    recipe: Recipe | str | Path | None = None,
    steps: int = 20,
    batch: int = 1,
    guidance: float | None = None,
    mapping: MappingRules | None = None,
    realisation: str = "best",
    trace: Run | str | Path | None = None,
) -> Estimate:
    """Estimate cycles, energy and traffic of one denoising step and of a sampling run.

    Parameters
    ----------
    model
        A quantized model (its own widths and proved accumulators), or a float model with a recipe: then
        no weights are read and accumulators take the worst case of their widths.
    hardware
        A machine's name, a YAML file or a loaded machine.
    recipe
        Widths and transforms of a float model, ``ptq-w8a8`` when None.
    steps, batch
        Steps of the run, images per run.
    guidance
        Guidance weight, the model's default when None; anything but 1 doubles the model's batch.
    mapping
        Rules that fix units, dataflows and tiles of layers (``hqsim.cost.load_mapping``).
    realisation
        How a single Hadamard is executed: ``best``, ``runtime``, ``fold``, ``parity`` or ``as_lowered``.
    trace
        A run of this model with the part ``codes``, or its folder (``hqsim.trace``): machines with zero
        gating save the zeros that it saw, units with an energy per toggle pay for its toggles, and
        accumulators are as wide as its sums need, not as is proved.

    Raises
    ------
    InputError
        Unknown names, a recipe for a model that is already quantized, a trace of another model.
    UnsupportedError
        A width or a layer that the machine cannot run.
    """
    machine = hardware if isinstance(hardware, Hardware) else load_hardware(hardware)
    run = _read(trace)
    work = _work(model, recipe=recipe, batch=batch, guidance=guidance, steps=steps, run=run)
    seen = activity_of(run, work.records) if run else Activity()
    return estimate_records(
        work,
        machine,
        steps=steps,
        mapping=mapping,
        realisation=realisation,
        zero_fractions=seen.zero_fractions,
        toggles=seen.toggles,
    )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Estimates of one run by machine, and why the other machines refuse it."""

    estimates: Mapping[str, Estimate]
    refusals: Mapping[str, str]


@uncollected()
def compare(
    model: Model | QuantizedModel | str | Path,
    machines: Sequence[str],
    *,
    recipe: Recipe | str | Path | None = None,
    steps: int = 20,
    batch: int = 1,
    guidance: float | None = None,
    mapping: MappingRules | None = None,
    realisation: str = "best",
    trace: Run | str | Path | None = None,
) -> Comparison:
    """Estimate one run on several machines (names or YAML files); everything else as in :func:`estimate`.

    A machine that raises UnsupportedError is a refusal; other errors are raised.
    """
    run = _read(trace)
    work = _work(model, recipe=recipe, batch=batch, guidance=guidance, steps=steps, run=run)
    seen = activity_of(run, work.records) if run else Activity()
    estimates, refusals = {}, {}
    for name in machines:
        try:
            estimates[name] = estimate_records(
                work,
                load_hardware(name),
                steps=steps,
                mapping=mapping,
                realisation=realisation,
                zero_fractions=seen.zero_fractions,
                toggles=seen.toggles,
            )
        except UnsupportedError as error:
            refusals[name] = str(error)
    return Comparison(estimates=estimates, refusals=refusals)


def guidance_of(model: Model | QuantizedModel, guidance: float | None) -> float:
    """Return the guidance weight that a model is estimated with: the given one, else its own."""
    from hqsim.quantize import QuantizedModel

    if guidance is not None:
        return guidance
    return model.model.guidance if isinstance(model, QuantizedModel) else model.guidance


def _work(
    model: Model | QuantizedModel | str | Path,
    *,
    recipe: Recipe | str | Path | None,
    batch: int,
    guidance: float | None,
    steps: int,
    run: Run | None,
) -> Workload:
    """Return the records of an estimate; those of a built-in model are kept for the next machine."""
    from hqsim.models.load import is_built_in
    from hqsim.quantize import load_recipe

    if run is None and isinstance(model, str) and is_built_in(model):
        return _built_in(model, load_recipe(recipe or DEFAULT_RECIPE), batch, guidance, steps)
    return Workload(
        tuple(records_of(model, recipe=recipe, batch=batch, guidance=guidance, steps=steps, run=run))
    )


@lru_cache(maxsize=8)
def _built_in(name: str, recipe: Recipe, batch: int, guidance: float | None, steps: int) -> Workload:
    return Workload(tuple(records_of(name, recipe=recipe, batch=batch, guidance=guidance, steps=steps)))


@uncollected()
def records_of(
    model: Model | QuantizedModel | str | Path,
    *,
    recipe: Recipe | str | Path | None,
    batch: int,
    guidance: float | None,
    steps: int,
    run: Run | None = None,
) -> list[LayerRecord]:
    """Return the layer records that :func:`estimate` costs, with accumulators as ``run`` saw them."""
    from hqsim.models import Model, load_model
    from hqsim.ops.records import layer_records
    from hqsim.quantize import QuantizedModel, load_recipe
    from hqsim.quantize.lower import lower, width_formats
    from hqsim.quantize.temporal import tabulate

    if batch < 1:
        raise InputError(f"batch: got {batch}, allowed 1 and more")
    observed = observed_bits(run) if run else {}
    if isinstance(model, QuantizedModel):
        if recipe is not None:
            raise InputError(f"recipe: got '{recipe}' for a model that is already quantized; leave it out")
        from hqsim.simulate.verify import accumulator_bits

        if run is not None:
            check_run(run, model, model.recipe)
        weight = model.model.guidance if guidance is None else guidance
        return layer_records(
            model.graph,
            model.formats,
            images=batch,
            guided=weight != 1.0,
            accumulator_bits={**accumulator_bits(model), **observed},
            table_steps=len(model.timesteps),
        )
    resolved = load_recipe(DEFAULT_RECIPE if recipe is None else recipe)
    model = model if isinstance(model, Model) else load_model(model, weights=False)
    if run is not None:
        check_run(run, model, resolved)
    weight = model.guidance if guidance is None else guidance
    lowered = lower(model.graph, resolved)
    if resolved.precompute_temporal:
        lowered = tabulate(lowered)
    return layer_records(
        lowered,
        width_formats(lowered, resolved, {}),
        images=batch,
        guided=weight != 1.0,
        accumulator_bits=observed,
        table_steps=steps,
    )


def _read(trace: Run | str | Path | None) -> Run | None:
    from hqsim.analysis.run_folder import read_run

    return read_run(trace) if isinstance(trace, str | Path) else trace
