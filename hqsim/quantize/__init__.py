"""Recipes, lowering, calibration, packing.

``quantize`` is loaded when it is first used: recipes and lowering need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hqsim.quantize.quantized_model import QuantizedModel, load_quantized
from hqsim.quantize.recipe import Recipe, list_recipes, load_recipe

if TYPE_CHECKING:
    from hqsim.quantize.api import quantize

__all__ = ["QuantizedModel", "Recipe", "list_recipes", "load_quantized", "load_recipe", "quantize"]


def __getattr__(name: str) -> object:
    if name != "quantize":
        raise AttributeError(f"module 'hqsim.quantize' has no attribute '{name}'")
    from hqsim.quantize.api import quantize

    globals()[name] = quantize
    return quantize
