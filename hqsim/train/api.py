"""``hqsim.train.train``: the trainer that a recipe names."""

from __future__ import annotations

from pathlib import Path

from hqsim.errors import InputError, UnsupportedError
from hqsim.models import Model, load_model
from hqsim.quantize import QuantizedModel, Recipe, load_recipe
from hqsim.quantize.api import calibration_settings
from hqsim.quantize.calibrate import Progress
from hqsim.train.run import Run


def train(
    model: Model | str | Path,
    recipe: Recipe | str | Path,
    *,
    updates: int | None = None,
    seed: int = 0,
    steps: int = 20,
    images: int = 16,
    guidance: float | None = None,
    checkpoint: str | Path | None = None,
    lessons: str | Path | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> QuantizedModel:
    """Quantize a model and train it as ``recipe.training`` says.

    Parameters
    ----------
    model, recipe
        Loaded, or by name or file.
    updates
        Updates of the trainer, the recipe's own number when None.
    seed
        Seed of calibration, trajectories and factors.
    steps
        DDIM steps of the sampling that the model is trained for: entries of its timestep tables.
    images
        Trajectories that calibration follows.
    guidance
        Guidance weight, the model's default when None.
    checkpoint
        Folder for the state; a run that was killed resumes from it and ends with the same bytes.
    lessons
        Folder where a distillation keeps the teacher's predictions; trainings of other recipes that share it
        (same model, seed, steps, guidance, batch) end with the same bytes and do not run the teacher again.
    device
        ``cpu`` or ``cuda``; None takes CUDA where there is one. Only the CPU gives the same bytes everywhere.

    Raises
    ------
    InputError
        Unknown names, settings out of range, a recipe without training.
    UnsupportedError
        What the recipe asks and the integers cannot run, or a device that is not there.
    NumericsError
        A value that is not finite, with its update and layer.
    """
    import torch

    recipe = load_recipe(recipe)
    model = model if isinstance(model, Model) else load_model(model)
    if recipe.training is None:
        raise InputError(
            f"recipe '{recipe.name}': training: the recipe has none, it only calibrates; train one that has "
            "such a section (hqdm, hqdm-channel, efficientdm, double, tfmq), or quantize without training"
        )
    if updates is not None and updates < 1:
        raise InputError(f"updates: got {updates}, allowed 1 and more")
    if device == "cuda" and not torch.cuda.is_available():
        raise UnsupportedError("device: got 'cuda', but torch finds no CUDA device here; use 'cpu'")
    run = Run(
        model=model,
        recipe=recipe,
        settings=calibration_settings(model, steps=steps, images=images, guidance=guidance, seed=seed),
        updates=updates,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        lessons=None if lessons is None else Path(lessons),
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        progress=progress or (lambda *_: None),
    )
    if recipe.training.kind == "tfmq":
        from hqsim.train.tfmq import reconstruct_model

        return reconstruct_model(run, recipe.training)
    from hqsim.train.distill import distill

    return distill(run, recipe.training)
