"""The trained models that ship: their recipe and their float model are today's."""

import pytest

from hqsim.models import load_model
from hqsim.quantize import load_quantized, load_recipe
from hqsim.quantize.recipe import Weights
from hqsim.quantize.shipped import shipped, shipped_recipes

EXPECTED = ["efficientdm-w4a4", "hqdm-channel-w4a4", "hqdm-w4a4"]
UPDATES = 2000


def test_the_trained_recipes_of_digits_ship():
    assert shipped_recipes("digits") == EXPECTED


@pytest.mark.parametrize("name", EXPECTED)
def test_a_shipped_model_is_of_todays_recipe_and_weights(name):
    folder = shipped("digits", load_recipe(name))
    assert folder is not None
    qmodel = load_quantized(folder)
    assert qmodel.recipe.name == name
    assert qmodel.model.digest == load_model("digits").digest
    assert qmodel.training is not None
    assert qmodel.training.settings["updates"] >= UPDATES


@pytest.mark.parametrize(
    ("model", "recipe"), [("digits", "ptq-w4a4"), ("sd15", "hqdm-w4a4"), ("no", "double-w4a4")]
)
def test_what_does_not_ship_is_none(model, recipe):
    assert shipped(model, load_recipe(recipe)) is None


def test_another_recipe_of_the_same_name_is_none():
    changed = load_recipe("hqdm-w4a4").model_copy(update={"weights": Weights(bits=4, group_size=16)})
    assert shipped("digits", changed) is None
