"""The grid of transforms as recipes: none, single or double by axis and signs, by symmetry, widths, order.

A recipe of the grid is plain PTQ (first and last layer in 8 bits) with one choice of each; what it is for is
to see the choices apart, so nothing else changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hqsim.analysis.layer_table import transform_text
from hqsim.graph import Graph
from hqsim.io import load_yaml, validate_yaml
from hqsim.ops import OPERATORS, Multiply
from hqsim.quantize import Recipe, load_recipe
from hqsim.quantize.lower import lower
from hqsim.quantize.recipe import Hadamard

TransformName = Literal[
    "none", "width", "width-signs", "channel", "channel-signs", "double", "double-channel"
]
HADAMARDS: Mapping[TransformName, Hadamard] = MappingProxyType(
    {
        "none": Hadamard(kind="none"),
        "width": Hadamard(kind="single", axis="width"),
        "width-signs": Hadamard(kind="single", axis="width", signs=True),
        "channel": Hadamard(kind="single", axis="channel"),
        "channel-signs": Hadamard(kind="single", axis="channel", signs=True),
        "double": Hadamard(kind="double", axis="none"),
        "double-channel": Hadamard(kind="double", axis="channel"),
    }
)
"""``double`` transforms linear layers alone, ``double-channel`` convolutions too; none exists along width."""


class Grid(BaseModel):
    """The choices whose combinations are compared; a YAML file gives the ones that differ from these."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    transforms: Annotated[tuple[TransformName, ...], Field(min_length=1)] = tuple(HADAMARDS)
    symmetric: Annotated[tuple[bool, ...], Field(min_length=1)] = (True, False)
    widths: Annotated[tuple[str, ...], Field(min_length=1)] = ("w4a4",)
    orders: Annotated[tuple[Annotated[int, Field(ge=1, le=6)], ...], Field(min_length=1)] = (3, 5)


@dataclass(frozen=True)
class GridPlan:
    """Recipes to compare on one model, and the combinations that were left out, each with its reason."""

    recipes: tuple[Recipe, ...]
    left_out: Mapping[str, str]


def load_grid(path: str | Path) -> Grid:
    """Read a grid from a YAML file.

    Raises
    ------
    InputError
        A missing file, or one that breaks the schema.
    """
    return validate_yaml(load_yaml(Path(path)), Grid)


def grid_plan(grids: Iterable[Grid], graph: Graph) -> GridPlan:
    """Return the recipes of all ``grids`` that differ on the model of ``graph``; ``none`` has no order.

    A transform of an order that the model's axes do not hold falls back to a smaller one, and then to
    another recipe: the later of two that do the same in every layer is left out.

    Raises
    ------
    InputError
        For widths that do not exist.
    """
    kept: dict[object, Recipe] = {}
    left_out: dict[str, str] = {}
    for recipe in chain.from_iterable(map(_recipes, grids)):
        same = kept.setdefault(_effect(recipe, graph), recipe)
        if same.name != recipe.name:
            left_out[recipe.name] = f"does the same as {same.name} in every layer of this model"
    return GridPlan(tuple(kept.values()), left_out)


def _recipes(grid: Grid) -> Iterator[Recipe]:
    for widths, symmetric, name in product(grid.widths, grid.symmetric, grid.transforms):
        plain = load_recipe(f"ptq-{widths}")
        activations = plain.activations.model_copy(update={"symmetric": symmetric})
        orders = (0,) if name == "none" else grid.orders
        for order in orders:
            parts = [name, f"k{order}" if order else "", "" if symmetric else "asym", widths]
            text = "-".join(part for part in parts if part)
            yield plain.model_copy(
                update={
                    "name": text,
                    "description": f"Plain PTQ, one combination of the grid: {text}",
                    "activations": activations,
                    "hadamard": HADAMARDS[name].model_copy(update={"order": order}),
                }
            )


def _effect(recipe: Recipe, graph: Graph) -> object:
    """What a recipe of the grid does to a model: its widths, its symmetry, the transform of every layer."""
    layers = (node for node in lower(graph, recipe) if isinstance(OPERATORS[node.op], Multiply))
    transforms = tuple(transform_text(node) for node in layers)
    return recipe.weights.bits, recipe.activations.bits, recipe.activations.symmetric, transforms
