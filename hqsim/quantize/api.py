"""``hqsim.quantize``: model and recipe in, quantized model out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hqsim.errors import InputError, NumericsError
from hqsim.graph import Graph, Node
from hqsim.models import Model, load_model
from hqsim.ops import OPERATORS, Multiply, Preparation, WeightCodes
from hqsim.ops.segments import segments_of
from hqsim.quantize.calibrate import CalibrationSettings, Progress, calibrate
from hqsim.quantize.lower import lower
from hqsim.quantize.quantized_model import QuantizedModel, SourceModel
from hqsim.quantize.recipe import Recipe, load_recipe
from hqsim.quantize.scales import quantize_weight


def quantize(
    model: Model | str | Path,
    recipe: Recipe | str | Path,
    *,
    seed: int = 0,
    steps: int = 20,
    images: int = 16,
    guidance: float | None = None,
    progress: Progress | None = None,
) -> QuantizedModel:
    """Quantize a model: weights by squared error, activations calibrated on its own trajectories.

    Parameters
    ----------
    model
        A loaded model, a built-in name or a diffusers folder.
    recipe
        A recipe, its name (``hqdm-w4a4``) or a YAML file.
    seed
        Seed of the calibration noise.
    steps
        DDIM steps of the calibration; each gives an entry of the timestep tables.
    images
        Trajectories that calibration follows.
    guidance
        Guidance weight of the trajectories, the model's default when None.

    Raises
    ------
    InputError
        Unknown names, a broken recipe, settings out of range.
    NumericsError
        Weights or activations that are not finite.
    """
    recipe = load_recipe(recipe)
    model = model if isinstance(model, Model) else load_model(model)
    if images < 1:
        raise InputError(f"images: got {images}, allowed 1 and more")
    guidance = model.guidance if guidance is None else guidance
    if guidance != 1.0 and model.null_label is None:
        raise InputError(f"guidance: got {guidance}, but model '{model.name}' has no classes; use 1.0")
    lowered = lower(model.graph, recipe)
    weights = _quantize_weights(model, lowered)
    settings = CalibrationSettings(steps=steps, images=images, guidance=guidance, seed=seed)
    formats = calibrate(model, lowered, recipe, weights, settings, progress or (lambda *_: None))
    preparation = Preparation(formats, model.parameters, weights)
    arrays = {node.name: _prepare(node, preparation) for node in lowered}
    return QuantizedModel(
        model=SourceModel.of(model),
        recipe=recipe,
        graph=lowered,
        formats=formats,
        weights=weights,
        arrays={name: prepared for name, prepared in arrays.items() if prepared},
        timesteps=tuple(int(timestep) for timestep in model.schedule.timesteps(steps)),
        seed=seed,
    )


def _prepare(node: Node, preparation: Preparation) -> dict[str, np.ndarray]:
    """The node's integer parameters but for its weight, which stays packed."""
    arrays = OPERATORS[node.op].prepare(node, preparation)
    arrays.pop("weight", None)
    return arrays


def _quantize_weights(model: Model, lowered: Graph) -> dict[str, WeightCodes]:
    weights = {}
    for node in lowered:
        operator = OPERATORS[node.op]
        if isinstance(operator, Multiply) and "weight" in node.parameters:
            name = node.parameters["weight"]
            real = operator.transformed_weight(node, model.parameters[name])
            segments = [segment.length for segment in segments_of(node, real.shape[1])]
            try:
                weights[name] = quantize_weight(real, node.integer("weight_bits"), segments)
            except ValueError as error:
                raise NumericsError(f"{node.name}: {error}") from None
    return weights
