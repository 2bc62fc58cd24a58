"""``hqsim.quantize``: what calibration gives, that it is reproducible, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import hqsim
from hqsim.errors import InputError, NumericsError
from hqsim.ops import OPERATORS, Multiply

SMALL = {"steps": 3, "images": 2, "guidance": 1.5}


def _saved(qmodel, folder):
    qmodel.save(folder)
    return [(folder / name).read_bytes() for name in ("model.safetensors", "config.json")]


def test_same_seed_same_bytes(tiny_model, tmp_path):
    first, second = (
        _saved(hqsim.quantize(tiny_model, "hqdm-channel-w4a4", seed=5, **SMALL), tmp_path / name)
        for name in "ab"
    )
    assert first == second


def test_the_number_of_threads_does_not_matter(tiny_model, tiny_qmodel, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        again = hqsim.quantize(tiny_model, "hqdm-w4a4", **SMALL)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert _saved(again, tmp_path / "a") == _saved(tiny_qmodel, tmp_path / "b")


def test_another_seed_gives_other_scales_and_the_same_weights(tiny_model, tiny_qmodel):
    other = hqsim.quantize(tiny_model, "hqdm-w4a4", seed=1, **SMALL)
    assert other.formats != tiny_qmodel.formats
    assert all(
        np.array_equal(other.weights[name].codes, weight.codes)
        for name, weight in tiny_qmodel.weights.items()
    )


def test_a_folder_is_as_good_as_its_model(tiny_folder, tiny_qmodel, tmp_path):
    again = hqsim.quantize(tiny_folder, "hqdm-w4a4", **SMALL)
    assert again.model.source == str(tiny_folder.resolve())
    assert _saved(again, tmp_path / "a") == _saved(tiny_qmodel, tmp_path / "b")


def test_every_operand_has_a_scale_per_step(tiny_qmodel):
    assert tiny_qmodel.timesteps == (666, 333, 0)
    assert [tiny_qmodel.entry_of(timestep) for timestep in (999, 666, 500, 499, 100, 0)] == [0, 0, 0, 1, 2, 2]
    for node in tiny_qmodel.graph:
        if node.op == "quantize":
            found = tiny_qmodel.formats[node.name]
            assert len(found.scales) == (3 if found.signed else 1)
            assert all(scale > 0 for scale in found.scales)
        elif node.op != "input":
            assert len(tiny_qmodel.formats[node.name].scales) == 1


def test_one_scale_for_all_steps(tiny_model, tmp_path):
    recipe = tmp_path / "static.yaml"
    recipe.write_text("activations: {bits: 4, per_timestep: false}\nhadamard: {kind: single}\n")
    qmodel = hqsim.quantize(tiny_model, recipe, **SMALL)
    assert {len(found.scales) for found in qmodel.formats.values()} == {1}
    assert qmodel.recipe.name == "static"


def test_scales_are_dyadic_where_the_integers_need_it(tiny_qmodel):
    """Carriers are M 2^-s; an operand's scale is its carrier's divided by such a number."""
    for node in tiny_qmodel.graph:
        if node.op == "quantize":
            carrier = tiny_qmodel.formats[node.inputs[0]].scale
            arrays = tiny_qmodel.arrays[node.name]
            factors = arrays["multiplier"] * 2.0 ** -arrays["shift"]
            np.testing.assert_allclose(carrier / factors, tiny_qmodel.formats[node.name].scales, rtol=1e-15)


def test_carriers_hold_what_calibration_saw(tiny_model, tiny_qmodel):
    """The float model's own trajectory, run again here, stays inside of every carrier's range."""
    from hqsim.quantize.torch_model import TorchModel

    noise = np.random.default_rng([0, 1, 0]).standard_normal(tiny_model.sample_shape)
    inputs = {
        "sample": torch.from_numpy(noise).float()[None],
        "timestep": torch.tensor([tiny_qmodel.timesteps[0]]),
        "class_labels": torch.tensor([0]),
    }
    carriers = 0
    for visit in TorchModel(tiny_qmodel.graph, tiny_model.parameters).walk(inputs, 0):
        found = tiny_qmodel.formats[visit.node.name]
        if visit.node.op != "quantize" and found.signed:
            assert float(visit.value.abs().max()) <= found.high * found.scale, visit.node.name
            carriers += 1
    assert carriers > 100


def test_weights_have_the_widths_of_the_recipe(tiny_qmodel):
    for node in tiny_qmodel.graph:
        if isinstance(OPERATORS[node.op], Multiply) and "weight" in node.parameters:
            weight = tiny_qmodel.weights[node.parameters["weight"]]
            assert weight.bits == (8 if node.name in ("conv_in", "conv_out") else 4)
            assert np.abs(weight.codes.astype(int)).max() <= 2 ** (weight.bits - 1) - 1


def test_progress_is_told_and_ends(tiny_model):
    told = []
    hqsim.quantize(tiny_model, "ptq-w8a8", progress=lambda *call: told.append(call), **SMALL)
    for label in ("calibrate (float)", "calibrate (fake-quant)"):
        assert [call[1:] for call in told if call[0] == label] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def _with(model, name, change):
    changed = model.parameters[name].copy()
    change(changed)
    return replace(model, parameters={**model.parameters, name: changed})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(tiny_model, bad):
    broken = _with(tiny_model, "mid_block.resnets.0.conv1.weight", lambda w: w.reshape(-1).put(17, bad))
    message = r"^mid_block\.resnets\.0\.conv1: the weight holds values that are not finite$"
    with pytest.raises(NumericsError, match=message):
        hqsim.quantize(broken, "hqdm-w4a4", **SMALL)


def test_activations_that_are_not_finite(tiny_model):
    broken = _with(tiny_model, "down_blocks.0.resnets.0.conv2.bias", lambda b: b.fill(np.nan))
    message = r"^down_blocks\.0\.resnets\.0\.conv2: activation at timestep 666 is not finite \(nan\)$"
    with pytest.raises(NumericsError, match=message):
        hqsim.quantize(broken, "hqdm-w4a4", **SMALL)


@pytest.mark.parametrize(
    "layer", ["conv_out", "mid_block.attentions.0.to_q", "down_blocks.0.resnets.0.conv2"]
)
def test_a_layer_of_zeros(tiny_model, layer):
    """Layers that start at zero are common in diffusion models."""
    dead = _with(tiny_model, f"{layer}.weight", lambda w: w.fill(0.0))
    dead = _with(dead, f"{layer}.bias", lambda b: b.fill(0.0))
    qmodel = hqsim.quantize(dead, "hqdm-w4a4", **SMALL)
    assert not qmodel.weights[f"{layer}.weight"].codes.any()
    images = {
        name: hqsim.simulate(qmodel, images=1, steps=2, executor=name).codes for name in ("integer", "exact")
    }
    assert np.array_equal(images["integer"], images["exact"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": 0}, "images: got 0, allowed 1 and more"),
        ({"steps": 0}, "steps: got 0, allowed 1 to 1000"),
        ({"steps": 1001}, "steps: got 1001, allowed 1 to 1000"),
    ],
)
def test_settings_out_of_range(tiny_model, settings, message):
    with pytest.raises(InputError, match=f"^{message}$"):
        hqsim.quantize(tiny_model, "hqdm-w4a4", **{**SMALL, **settings})


def test_guidance_needs_classes(tiny_model):
    plain = replace(tiny_model, classes=0, null_label=None)
    message = r"^guidance: got 1\.5, but model 'tiny' has no classes; use 1\.0$"
    with pytest.raises(InputError, match=message):
        hqsim.quantize(plain, "hqdm-w4a4", **SMALL)


def test_unknown_names():
    with pytest.raises(InputError, match=r"^unknown recipe 'hqdn-w4a4'; did you mean 'hqdm-w4a4'\?"):
        hqsim.quantize("digits", "hqdn-w4a4")
    with pytest.raises(InputError, match=r"^unknown model 'digit'; did you mean 'digits'\?"):
        hqsim.quantize("digit", "hqdm-w4a4")
