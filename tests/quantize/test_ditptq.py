"""DiT quantization: calibrated on the first step alone, weights in groups, transformers only."""

import numpy as np
import pytest
from pydantic import ValidationError

import hqsim
from hqsim.errors import UnsupportedError
from hqsim.ops import OPERATORS, Multiply
from hqsim.quantize import Recipe, load_recipe
from hqsim.quantize.lower import lower
from hqsim.quantize.recipe import Activations, LayerRule, Weights

SMALL = {"steps": 3, "images": 2, "guidance": 1.5}
SNAPPED = 2.0**-14
"""Snapping moves a scale by at most 2^-15 of it, and carriers of two runs differ."""


def _activations(**choices):
    return Recipe(network="transformer", weights=Weights(bits=8), activations=Activations(bits=8, **choices))


@pytest.fixture(scope="module")
def first_step(tiny_dit):
    return hqsim.quantize(tiny_dit, _activations(per_timestep=False, calibration="first_step"), **SMALL)


def test_the_recipe_is_the_papers_method():
    recipe = load_recipe("ditptq-w4a8")
    assert recipe.network == "transformer"
    assert (recipe.weights.bits, recipe.weights.group_size) == (4, 128)
    chosen = recipe.activations
    assert (chosen.bits, chosen.per_timestep, chosen.calibration) == (8, False, "first_step")
    assert recipe.hadamard.kind == "none"


def _operand_scales(qmodel, entry):
    return {
        node.name: qmodel.formats[node.name].scale_at(entry)
        for node in qmodel.graph
        if node.op == "quantize" and qmodel.formats[node.inputs[0]].signed
    }


def test_one_step_calibration_takes_the_first_entry_of_the_table(tiny_dit, first_step):
    """Every operand has the scale that a table per timestep holds for the step with the most noise."""
    table = hqsim.quantize(tiny_dit, _activations(per_timestep=True), **SMALL)
    first, last = (_operand_scales(table, entry) for entry in (0, 2))
    found = _operand_scales(first_step, 0)
    assert found.keys() == first.keys()
    assert {len(format_.scales) for format_ in first_step.formats.values()} == {1}
    assert all(found[name] == pytest.approx(scale, rel=SNAPPED) for name, scale in first.items())
    assert any(found[name] != pytest.approx(scale, rel=0.01) for name, scale in last.items())


def test_all_steps_give_other_scales_than_the_first(tiny_dit, first_step):
    all_steps = hqsim.quantize(tiny_dit, _activations(per_timestep=False), **SMALL)
    found, other = (_operand_scales(qmodel, 0) for qmodel in (first_step, all_steps))
    assert any(found[name] != pytest.approx(other[name], rel=0.01) for name in found)


@pytest.mark.parametrize(
    "choices",
    [
        {"activations": Activations(calibration="first_step")},
        {
            "activations": Activations(calibration="first_step", per_timestep=False),
            "layers": (LayerRule(match="*", per_timestep=True),),
        },
    ],
)
def test_one_step_cannot_fill_a_table(choices):
    message = r"calibration 'first_step' gives one scale for all timesteps; set per_timestep to false"
    with pytest.raises(ValidationError, match=message):
        Recipe(**choices)


def test_a_unet_is_refused(tiny_model):
    message = (
        r"^recipe 'ditptq-w4a8': network: 'transformer' allows one convolution, the patch embedding, but the "
        r"model has \d+ more, first 'down_blocks\.0\.resnets\.0\.conv1': the method is stated for linear "
        r"layers alone; use a recipe for any network, like 'ptq-w8a8'$"
    )
    with pytest.raises(UnsupportedError, match=message):
        lower(tiny_model.graph, load_recipe("ditptq-w4a8"))


def test_groups_of_128_input_channels():
    """DiT-XL/2 has 1152 channels: nine groups; the MLP's second layer has 4608, 36 groups."""
    model = hqsim.load_model("dit-xl-2", weights=False)
    lowered = lower(model.graph, load_recipe("ditptq-w4a8"))
    sizes = {node.attributes["group_size"] for node in lowered if "group_size" in node.attributes}
    assert sizes == {128}
    depths = {
        tuple(node.attributes["sides"])
        for node in lowered
        if isinstance(OPERATORS[node.op], Multiply) and "weight" in node.parameters
    }
    assert {(1152,), (4608,), (256,)} <= depths


def test_every_group_has_a_scale_of_its_own(tiny_dit):
    recipe = load_recipe("ditptq-w4a8")
    recipe = recipe.model_copy(update={"weights": recipe.weights.model_copy(update={"group_size": 8})})
    qmodel = hqsim.quantize(tiny_dit, recipe, **SMALL)
    weights = {name: weight for name, weight in qmodel.weights.items() if "ff.net" in name}
    assert weights
    for name, weight in weights.items():
        real = tiny_dit.parameters[name]
        assert weight.scales.shape == (real.shape[0], real.shape[1] // 8)
        restored = (weight.codes.reshape(len(real), -1, 8) * weight.scales[:, :, None]).reshape(real.shape)
        assert np.abs(restored - real).max() <= np.abs(real).max() / 2


@pytest.mark.parametrize("recipe", ["ditptq-w8a8", "ditptq-w4a8"])
def test_it_verifies_by_name(tiny_dit, recipe):
    result = hqsim.verify(hqsim.quantize(tiny_dit, recipe, **SMALL), steps=3, images=1)
    assert result.mismatches == 0
    assert result.passed


@pytest.mark.parametrize("recipe", ["ditptq-w4a8"])
def test_the_embedded_transformer_verifies_by_name(recipe):
    result = hqsim.verify(hqsim.quantize("digits-dit", recipe, steps=2, images=1), steps=2, images=1)
    assert result.mismatches == 0
    assert result.passed
