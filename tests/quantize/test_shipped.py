"""The trained models that ship: their recipe and their float model are today's."""

import pytest

from hqsim.models import load_model
from hqsim.quantize import load_quantized, load_recipe
from hqsim.quantize.shipped import shipped, shipped_recipes

EXPECTED = ["efficientdm-w4a4", "hqdm-channel-w4a4", "hqdm-w4a4"]
UPDATES = 2000


def test_the_trained_recipes_of_digits_ship() -> None:
    assert shipped_recipes("digits") == EXPECTED


@pytest.mark.parametrize("name", EXPECTED)
def test_a_shipped_model_is_of_todays_recipe_and_weights(name: str) -> None:
    folder = shipped("digits", name)
    assert folder is not None
    qmodel = load_quantized(folder)
    assert qmodel.recipe.model_dump(exclude={"training"}) == load_recipe(name).model_dump(
        exclude={"training"}
    )
    assert qmodel.model.digest == load_model("digits").digest
    assert qmodel.training is not None and qmodel.training.settings["updates"] >= UPDATES


@pytest.mark.parametrize(("model", "recipe"), [("digits", "ptq-w4a4"), ("sd15", "hqdm-w4a4"), ("no", "such")])
def test_what_does_not_ship_is_none(model: str, recipe: str) -> None:
    assert shipped(model, recipe) is None
