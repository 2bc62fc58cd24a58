"""``hqsim.estimate``: layer records of a model (quantized, or under a recipe) on a machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hqsim.cost import Estimate, Hardware, estimate_records, load_hardware
from hqsim.errors import InputError

if TYPE_CHECKING:
    from hqsim.graph import LayerRecord
    from hqsim.models import Model
    from hqsim.quantize import QuantizedModel, Recipe

DEFAULT_RECIPE = "ptq-w8a8"
"""Widths of a plain model when no recipe is named."""


def estimate(
    model: Model | QuantizedModel | str | Path,
    hardware: Hardware | str | Path,
    *,
    recipe: Recipe | str | Path | None = None,
    steps: int = 20,
    batch: int = 1,
    guidance: float | None = None,
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

    Raises
    ------
    InputError
        Unknown names, a recipe for a model that is already quantized.
    UnsupportedError
        A width or a layer that the machine cannot run.
    """
    machine = hardware if isinstance(hardware, Hardware) else load_hardware(hardware)
    records = records_of(model, recipe=recipe, batch=batch, guidance=guidance, steps=steps)
    return estimate_records(records, machine, steps=steps)


def records_of(
    model: Model | QuantizedModel | str | Path,
    *,
    recipe: Recipe | str | Path | None,
    batch: int,
    guidance: float | None,
    steps: int,
) -> list[LayerRecord]:
    """Return the layer records that :func:`estimate` costs."""
    from hqsim.models import Model, load_model
    from hqsim.ops.records import layer_records
    from hqsim.quantize import QuantizedModel, load_recipe
    from hqsim.quantize.lower import lower, width_formats
    from hqsim.simulate.verify import accumulator_bits

    if batch < 1:
        raise InputError(f"batch: got {batch}, allowed 1 and more")
    if isinstance(model, QuantizedModel):
        if recipe is not None:
            raise InputError(f"recipe: got '{recipe}' for a model that is already quantized; leave it out")
        weight = model.model.guidance if guidance is None else guidance
        return layer_records(
            model.graph,
            model.formats,
            images=batch,
            guided=weight != 1.0,
            accumulator_bits=accumulator_bits(model),
            table_steps=len(model.timesteps),
        )
    resolved = load_recipe(DEFAULT_RECIPE if recipe is None else recipe)
    model = model if isinstance(model, Model) else load_model(model)
    weight = model.guidance if guidance is None else guidance
    lowered = lower(model.graph, resolved)
    return layer_records(
        lowered,
        width_formats(lowered, resolved, {}),
        images=batch,
        guided=weight != 1.0,
        table_steps=steps if resolved.activations.per_timestep else 1,
    )
