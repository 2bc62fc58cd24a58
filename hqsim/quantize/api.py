"""``hqsim.quantize``: model and recipe in, quantized model out."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import numpy as np

from hqsim.errors import InputError, NumericsError
from hqsim.graph import Graph, Node
from hqsim.models import Model, load_model
from hqsim.numerics import Format
from hqsim.ops import OPERATORS, Multiply, Preparation, WeightCodes
from hqsim.ops.segments import segments_of
from hqsim.quantize.calibrate import CalibrationSettings, Progress, calibrate
from hqsim.quantize.lower import lower
from hqsim.quantize.precompute import precompute_temporal
from hqsim.quantize.quantized_model import QuantizedModel, SourceModel, Training
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
    train: int | None = None,
    checkpoint: str | Path | None = None,
    lessons: str | Path | None = None,
    progress: Progress | None = None,
) -> QuantizedModel:
    """Quantize a model: weights by squared error, activations calibrated on its own trajectories.

    With ``train`` the recipe's trainer goes on from there (``hqsim.train``).

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
    train
        Updates of the recipe's trainer; None for calibration alone.
    checkpoint
        Folder where training keeps its state; a run that was killed resumes from it.
    lessons
        Folder where a distillation keeps the float model's predictions, for trainings of other recipes.

    Raises
    ------
    InputError
        Unknown names, a broken recipe, settings out of range.
    NumericsError
        Weights or activations that are not finite.
    """
    recipe = load_recipe(recipe)
    model = model if isinstance(model, Model) else load_model(model)
    if train is not None:
        trainers = import_module("hqsim.train")  # By name: the rooms that train stand above this one.
        trained: QuantizedModel = trainers.train(
            model,
            recipe,
            updates=train,
            seed=seed,
            steps=steps,
            images=images,
            guidance=guidance,
            checkpoint=checkpoint,
            lessons=lessons,
            progress=progress,
        )
        return trained
    settings = calibration_settings(model, steps=steps, images=images, guidance=guidance, seed=seed)
    # Calibration alone gives no layer weight scales per timestep.
    lowered = lower(model.graph, recipe.model_copy(update={"training": None}))
    weights = quantize_weights(model, lowered)
    formats = calibrate(model, lowered, recipe, weights, settings, progress or (lambda *_: None))
    return assemble(model, recipe, lowered, weights, formats, settings)


def calibration_settings(
    model: Model, *, steps: int, images: int, guidance: float | None, seed: int
) -> CalibrationSettings:
    """Return checked settings; ``guidance`` None means the model's default.

    Raises
    ------
    InputError
        For no images, or guidance of a model without classes.
    """
    if images < 1:
        raise InputError(f"images: got {images}, allowed 1 and more")
    guidance = model.guidance if guidance is None else guidance
    if guidance != 1.0 and model.null_label is None:
        raise InputError(f"guidance: got {guidance}, but model '{model.name}' has no classes; use 1.0")
    return CalibrationSettings(steps=steps, images=images, guidance=guidance, seed=seed)


def assemble(
    model: Model,
    recipe: Recipe,
    lowered: Graph,
    weights: Mapping[str, WeightCodes],
    formats: Mapping[str, Format],
    settings: CalibrationSettings,
    training: Training | None = None,
) -> QuantizedModel:
    """Return the quantized model of given codes and formats: the one way to integer parameters."""
    preparation = Preparation(formats, model.parameters, weights)
    arrays = {node.name: _prepare(node, preparation) for node in lowered}
    qmodel = QuantizedModel(
        model=SourceModel.of(model),
        recipe=recipe,
        graph=lowered,
        formats=formats,
        weights=weights,
        arrays={name: prepared for name, prepared in arrays.items() if prepared},
        timesteps=tuple(int(timestep) for timestep in model.schedule.timesteps(settings.steps)),
        seed=settings.seed,
        training=training,
    )
    return precompute_temporal(qmodel) if recipe.precompute_temporal else qmodel


def _prepare(node: Node, preparation: Preparation) -> dict[str, np.ndarray]:
    """The node's integer parameters but for its weight, which stays packed."""
    arrays = OPERATORS[node.op].prepare(node, preparation)
    arrays.pop("weight", None)
    return arrays


def quantize_weights(model: Model, lowered: Graph) -> dict[str, WeightCodes]:
    """Return every weight rounded to the nearest codes, by name.

    Raises
    ------
    NumericsError
        For a weight that is not finite, with its layer.
    """
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
