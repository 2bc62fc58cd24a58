"""Recipes, lowering, calibration, packing."""

from hqsim.quantize.api import quantize
from hqsim.quantize.quantized_model import QuantizedModel, load_quantized
from hqsim.quantize.recipe import Recipe, list_recipes, load_recipe

__all__ = ["QuantizedModel", "Recipe", "list_recipes", "load_quantized", "load_recipe", "quantize"]
