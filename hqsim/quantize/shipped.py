"""Trained quantized models that ship with hqsim: by the names of their model and their recipe."""

from __future__ import annotations

import json
from pathlib import Path

from hqsim.models.load import CHECKPOINTS
from hqsim.quantize.recipe import Recipe

TRAINED = "trained"


def shipped(model: str, recipe: Recipe) -> Path | None:
    """Return the folder of the trained artefact of ``model`` by ``recipe``, None where none ships.

    A recipe of the same name that asks for something else has none. ``load_quantized`` reads the folder; how
    the model was trained stands in its ``config.json`` under ``training``.
    """
    config = CHECKPOINTS / model / TRAINED / recipe.name / "config.json"
    if not config.is_file():
        return None
    trained = Recipe.model_validate_json(json.dumps(json.loads(config.read_text(encoding="utf-8"))["recipe"]))
    same = trained.model_dump(exclude={"training"}) == recipe.model_dump(exclude={"training"})
    return config.parent if same else None


def shipped_recipes(model: str) -> list[str]:
    """Return the names of the recipes that ``shipped`` knows for ``model``, sorted."""
    return sorted(path.parent.name for path in (CHECKPOINTS / model / TRAINED).glob("*/config.json"))
