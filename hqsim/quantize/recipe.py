"""Recipes: how a model is quantized, as strict YAML or by name (``method-wXaY``)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hqsim.errors import InputError, unknown_name
from hqsim.io import load_yaml, validate_yaml

FOLDER = Path(__file__).parent / "recipes"
_NAME = re.compile(r"(?P<method>[a-z][a-z0-9-]*?)-w(?P<weights>\d+)a(?P<activations>\d+)")

OperandBits = Annotated[int, Field(ge=2, le=8)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Weights(_Strict):
    """Weights: symmetric, restricted range, one squared-error-optimal scale per output channel."""

    bits: OperandBits = 4


class Activations(_Strict):
    """Operands: symmetric, squared-error-optimal scale, per calibrated timestep or one for all."""

    bits: OperandBits = 4
    per_timestep: bool = True


class Attention(_Strict):
    """Operands of q·k and p·v; ``operand_bits`` null means the activations' bits."""

    operand_bits: OperandBits | None = None
    probability_bits: OperandBits = 8


class Carriers(_Strict):
    """Codes between operators."""

    bits: Literal[12, 16] = 16
    margin: Annotated[float, Field(ge=1.0, le=4.0)] = 1.25


class Hadamard(_Strict):
    """The block transform of activations."""

    kind: Literal["none", "single"] = "none"
    axis: Literal["width", "channel"] = "width"
    order: Annotated[int, Field(ge=0, le=6)] = 5
    signs: bool = False
    partial: Literal["largest_pow2", "identity"] = "largest_pow2"


class LayerRule(_Strict):
    """An exception: layers whose name matches the wildcard, ``@first`` or ``@last``; later rules win."""

    match: Annotated[str, Field(min_length=1)]
    weight_bits: OperandBits | None = None
    activation_bits: OperandBits | None = None
    hadamard: Hadamard | None = None


class Recipe(_Strict):
    """A whole recipe."""

    name: str = "custom"
    description: str = ""
    weights: Weights = Weights()
    activations: Activations = Activations()
    attention: Attention = Attention()
    carriers: Carriers = Carriers()
    hadamard: Hadamard = Hadamard()
    layers: tuple[LayerRule, ...] = ()


def list_recipes() -> list[str]:
    """Return the names of the built-in methods; a recipe name adds ``-wXaY``."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(name_or_path: str | Path | Recipe) -> Recipe:
    """Return a recipe: ``method-wXaY`` (for example ``hqdm-w4a4``), a YAML file, or one already loaded.

    Raises
    ------
    InputError
        Unknown method, widths outside 2..8, a missing file or a file that breaks the schema.
    """
    if isinstance(name_or_path, Recipe):
        return name_or_path
    name = str(name_or_path)
    if name.endswith((".yaml", ".yml")) or "/" in name:
        path = Path(name_or_path)
        recipe = validate_yaml(load_yaml(path), Recipe)
        return recipe if recipe.name != "custom" else recipe.model_copy(update={"name": path.stem})
    match = _NAME.fullmatch(name)
    if match is None or match["method"] not in list_recipes():
        raise unknown_name("recipe", name, [f"{method}-w4a4" for method in list_recipes()])
    weights, activations = int(match["weights"]), int(match["activations"])
    for what, bits in (("weights", weights), ("activations", activations)):
        if not 2 <= bits <= 8:
            raise InputError(f"recipe '{name}': {what}: got {bits} bits, allowed 2 to 8 (as in '-w4a4')")
    recipe = validate_yaml(load_yaml(FOLDER / f"{match['method']}.yaml"), Recipe)
    return recipe.model_copy(
        update={
            "name": name,
            "weights": recipe.weights.model_copy(update={"bits": weights}),
            "activations": recipe.activations.model_copy(update={"bits": activations}),
        }
    )
