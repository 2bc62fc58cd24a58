"""Trained quantized models that ship with hqsim: by the names of their model and their recipe."""

from __future__ import annotations

from pathlib import Path

from hqsim.models.load import CHECKPOINTS

TRAINED = "trained"


def shipped(model: str, recipe: str) -> Path | None:
    """Return the folder of the trained artefact of ``model`` by ``recipe``, None where none ships.

    ``load_quantized`` reads it; how it was trained stands in its ``config.json`` under ``training``.
    """
    folder = CHECKPOINTS / model / TRAINED / recipe
    return folder if (folder / "config.json").is_file() else None


def shipped_recipes(model: str) -> list[str]:
    """Return the names of the recipes that ``shipped`` knows for ``model``, sorted."""
    return sorted(path.parent.name for path in (CHECKPOINTS / model / TRAINED).glob("*/config.json"))
