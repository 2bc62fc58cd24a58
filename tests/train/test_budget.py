"""The budget of an update, against sums by hand."""

import pytest

from hqsim.errors import InputError
from hqsim.quantize import load_recipe
from hqsim.train.budget import budget


def test_digits():
    """1,806,529 parameters, of which 1,800,000 or so are weights of products; guidance doubles two images."""
    from hqsim.models import load_model

    model = load_model("digits")
    weights = {
        node.parameters["weight"]: model.parameters[node.parameters["weight"]].size
        for node in model.graph
        if node.op in ("conv2d", "linear")
    }
    found = budget("digits", load_recipe("hqdm-w4a4"))
    assert found.samples == 4
    assert found.frozen_bytes == 4 * sum(weights.values())
    eight_bits = weights["conv_in.weight"] + weights["conv_out.weight"]
    assert found.code_bytes == (sum(weights.values()) + eight_bits) / 2
    assert budget("digits", load_recipe("hqdm-w4a4"), images=4).macs == 2 * found.macs


def test_layers_without_low_rank_factors_learn_scales_alone():
    ours, theirs = (budget("digits", load_recipe(name)) for name in ("hqdm-w4a4", "efficientdm-w4a4"))
    pairs = {"conv_in": (32, 9), "conv_out": (1, 288), "linear_1": (128, 32), "linear_2": (128, 128)}
    factors = sum(min(32, outputs, inputs) * (outputs + inputs) for outputs, inputs in pairs.values())
    assert ours.learned_bytes - theirs.learned_bytes == 16 * factors


def test_ratios_of_weight_scales_are_learned_at_every_entry():
    """100 entries of one ratio per output, each with gradient and two moments; no code more is stored."""
    recipe = load_recipe("hqdm-w4a4")
    training = recipe.training.model_copy(update={"weight_scales": "per_timestep"})
    static = budget("digits", recipe)
    stepped = budget("digits", recipe.model_copy(update={"training": training}))
    outputs = static.scale_bytes / 3
    assert stepped.learned_bytes - static.learned_bytes == 16 * 100 * outputs
    assert (stepped.code_bytes, stepped.weight_bytes) == (static.code_bytes, static.weight_bytes)


def test_a_recipe_that_does_not_distil():
    with pytest.raises(
        InputError, match=r"^recipe 'ptq-w4a4': training: a budget needs one of kind 'distill'"
    ):
        budget("digits", load_recipe("ptq-w4a4"))
