"""Every recipe by name: quantizes, trains where it trains, is stored, verified, sampled and costed."""

import numpy as np
import pytest

import hqsim
from hqsim.quantize import list_recipes, load_recipe

SMALL = {"steps": 2, "images": 1, "guidance": 1.5}
FEW = {
    "distill": {"trajectory_steps": None, "batch": 1, "lora_rank": 2},
    "tfmq": {"batch": 2, "calibration_batches": 1},
}
"""Options of the trainers that make a short run; everything else is the recipe's own."""


def _short(name):
    recipe = load_recipe(name)
    if recipe.training is None:
        return recipe, None
    training = recipe.training.model_copy(update=FEW[recipe.training.kind])
    return recipe.model_copy(update={"training": training}), 2


@pytest.mark.parametrize("method", list_recipes())
def test_a_recipe_from_its_name_to_images_and_costs(request, tmp_path, method):
    name = f"{method}-w4a8" if method == "ditptq" else f"{method}-w4a4"
    model = request.getfixturevalue("tiny_dit" if method == "ditptq" else "tiny_model")
    recipe, updates = _short(name)
    qmodel = hqsim.quantize(model, recipe, train=updates, **SMALL)
    assert (qmodel.training is not None) == (updates is not None)

    loaded = hqsim.load_quantized(qmodel.save(tmp_path / "q"))
    result = hqsim.verify(loaded, steps=2, images=1)
    assert result.mismatches == 0
    assert result.passed

    samples = hqsim.simulate(loaded, images=1, steps=2, guidance=1.5, seed=3)
    assert samples.codes.shape == (1, *model.sample_shape)
    assert len(np.unique(samples.codes)) > 16

    stored = hqsim.estimate(loaded, "edge-npu-16x16", steps=2)
    by_name = hqsim.estimate(model, "edge-npu-16x16", recipe=name, steps=2)
    assert stored.total["macs"] == by_name.total["macs"] > 0
    assert stored.total["latency_s"] > 0
    assert by_name.total["latency_s"] > 0
