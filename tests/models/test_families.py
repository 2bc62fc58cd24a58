"""Small members of every family, loaded from diffusers folders: float agreement, codes without mismatch."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from hqsim.errors import InputError, UnsupportedError
from hqsim.io import write_tensors
from hqsim.models import load_model
from hqsim.quantize import quantize
from hqsim.quantize.recipe import Hadamard, Recipe
from hqsim.quantize.torch_model import TorchModel
from hqsim.simulate import verify
from tests.models.families import FAMILIES, REFUSED, VARIANTS, random_module, save_folder

LIMIT = 1e-5
MEMBERS = FAMILIES | VARIANTS
RECIPE = Recipe(hadamard=Hadamard(kind="single", axis="channel", order=3, signs=True))


@pytest.fixture(scope="module")
def member(tmp_path_factory):
    """The module and the loaded model of a member, made once."""
    made = {}

    def of(name):
        if name not in made:
            module = random_module(*MEMBERS[name])
            folder = save_folder(module, tmp_path_factory.mktemp("member") / "model")
            made[name] = module, load_model(folder)
        return made[name]

    return of


def call(module, model, sample, timestep, labels):
    """What diffusers computes from the same inputs, cut to the channels of the sample."""
    arguments = {"timestep": timestep}
    is_transformer = type(module).__name__ == "DiTTransformer2DModel"
    arguments["hidden_states" if is_transformer else "sample"] = sample
    if "context.weight" in model.parameters:
        arguments["encoder_hidden_states"] = torch.from_numpy(model.parameters["context.weight"])[labels]
    if is_transformer or module.config.num_class_embeds:
        arguments["class_labels"] = labels
    with torch.no_grad():
        return module(**arguments, return_dict=False)[0][:, : sample.shape[1]]


@pytest.mark.parametrize("name", MEMBERS)
def test_the_graph_computes_what_diffusers_computes(name, member):
    module, model = member(name)
    sample = torch.randn(3, *model.sample_shape, generator=torch.Generator().manual_seed(1))
    inputs = {
        "sample": sample,
        "timestep": torch.tensor([0, 500, 999]),
        "class_labels": torch.tensor([0, 2, model.classes]) if model.classes else None,
    }
    expected = call(module, model, *inputs.values())
    given = {key: value for key, value in inputs.items() if key in model.graph}
    *_, last = TorchModel(model.graph, model.parameters).walk(given, 0)
    assert expected.std() > 0.1
    assert (last.value - expected).abs().max() < LIMIT


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_verifies(name, member):
    _, model = member(name)
    qmodel = quantize(model, RECIPE, steps=1, images=16, guidance=1.0)
    result = verify(qmodel, steps=1, images=2, guidance=1.0)
    assert result.mismatches == 0
    assert result.exact.saturation_differences == 0
    assert result.exact.compared > 50_000
    assert result.fakequant.operands("teacher-forced").max_lsb <= 1
    assert max(result.fakequant.product_error.values()) < 1e-12
    closest = result.fakequant.final_sqnr_db()["integer_against_fakequant"]
    assert closest > 20.0


@pytest.mark.parametrize("name", VARIANTS)
def test_integer_and_exact_agree_on_a_variant(name, member):
    _, model = member(name)
    qmodel = quantize(model, RECIPE, steps=1, images=1, guidance=1.0)
    result = verify(qmodel, steps=1, images=1, guidance=1.0, against="exact")
    assert result.passed
    assert result.exact.compared > 10_000


@pytest.mark.parametrize("bits", [12])
def test_narrow_carriers_take_full_tables(bits, member):
    _, model = member("dit-xl-2")
    recipe = RECIPE.model_copy(update={"carriers": RECIPE.carriers.model_copy(update={"bits": bits})})
    qmodel = quantize(model, recipe, steps=1, images=1, guidance=1.0)
    gates = [node.name for node in qmodel.graph if node.op in ("silu", "gelu_tanh")]
    assert gates
    assert all(qmodel.arrays[name]["table"].shape == (2**bits,) for name in gates)
    assert verify(qmodel, steps=1, images=2, guidance=1.0, against="exact").passed


def test_an_artefact_of_a_transformer_runs_again(member, tmp_path):
    """Tables of constants, contexts and the variance half of the output survive the file."""
    from hqsim.quantize import load_quantized
    from hqsim.simulate import simulate

    _, model = member("dit-xl-2")
    qmodel = quantize(model, RECIPE, steps=1, images=1, guidance=1.0)
    again = load_quantized(qmodel.save(tmp_path / "artefact"))
    runs = [simulate(source, images=2, steps=1, guidance=2.0) for source in (qmodel, again)]
    assert np.array_equal(runs[0].codes, runs[1].codes)


def test_labels_of_the_families(member):
    labels = {name: (member(name)[1].classes, member(name)[1].null_label) for name in FAMILIES}
    assert labels == {
        "ldm4-imagenet": (4, 4),
        "ldm4-bedrooms": (0, None),
        "ldm8-churches": (0, None),
        "dit-xl-2": (10, 10),
        "sd15": (4, 4),
    }


def test_the_learned_variance_is_cut_off(member):
    _, model = member("dit-xl-2")
    last = model.graph[model.graph.output]
    assert (last.name, last.op, last.type.shape) == ("noise", "slice", (4, 8, 8))


def test_one_sinusoid_serves_all_blocks_of_a_transformer(member):
    graph = member("dit-xl-2")[1].graph
    assert [node.name for node in graph if node.op == "timestep_embedding"] == [
        "transformer_blocks.0.norm1.emb.time_proj"
    ]


@pytest.mark.parametrize("name", REFUSED)
def test_blocks_without_a_rule_are_refused(name, tmp_path):
    class_name, config, message = REFUSED[name]
    folder = save_folder(random_module(class_name, config), tmp_path / "model")
    with pytest.raises(UnsupportedError, match=rf"^{message}"):
        load_model(folder)


def test_a_missing_context(tmp_path):
    folder = save_folder(random_module(*FAMILIES["sd15"]), tmp_path / "model")
    path = folder / "context.safetensors"
    path.unlink()
    message = f"{path}: file not found; a UNet2DConditionModel needs 'context.weight' [rows, tokens, dim]: "
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        load_model(folder)
    write_tensors(path, {"prompts": np.zeros((2, 3, 12), np.float32)}, {})
    message = f"{path}: must hold 'context.weight', float32 [rows, tokens, dim], and holds ['prompts']"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load_model(folder)


def test_labels_and_context_of_different_length(tmp_path):
    class_name, config = FAMILIES["sd15"]
    module = random_module(class_name, {**config, "num_class_embeds": 7})
    folder = save_folder(module, tmp_path / "model")
    message = r"^UNet2DConditionModel: got 7 class embeddings and 5 rows of context; give one row per label$"
    with pytest.raises(InputError, match=message):
        load_model(folder)
