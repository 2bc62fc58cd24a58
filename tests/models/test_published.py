"""The published architectures against figures from elsewhere: layer lists, MACs, parameter counts."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hqsim.models import list_models, load_model
from hqsim.models.architecture import Parameter
from hqsim.models.build import instantiate, parameters_of
from hqsim.models.published import PUBLISHED
from hqsim.models.random_weights import RandomParameters
from hqsim.models.schedule import schedule_from_config
from hqsim.ops import OPERATORS, WorkContext
from hqsim.quantize import load_recipe
from hqsim.quantize.lower import lower, width_formats

LAYERS = Path(__file__).resolve().parents[1] / "data" / "ldm_layers.csv"
ROWS = {
    "ldm4-imagenet": ("LDM-4 ImageNet (cin256-v2)", 99.77),
    "ldm4-bedrooms": ("LDM-4 LSUN-Bedrooms", 96.02),
    "ldm8-churches": ("LDM-8 LSUN-Churches", 18.64),
}


def _records(graph):
    recipe = load_recipe("ptq-w8a8")
    lowered = lower(graph, recipe)
    context = WorkContext(lowered, width_formats(lowered, recipe, {}), 1, {})
    records = (OPERATORS[node.op].record(node, context) for node in lowered)
    return [record for record in records if record]


@pytest.mark.parametrize("name", ROWS)
def test_every_layer_is_one_of_the_published_list(name):
    """As (inputs times taps, outputs, MACs); q, k and v are three layers in diffusers, one in CompVis."""
    model, total = ROWS[name]
    expected = Counter()
    with LAYERS.open() as file:
        for row in csv.DictReader(file):
            if row["model"] == model:
                taps = 9 if row["type"].startswith("conv3x3") else 1
                parts = 3 if row["name"].endswith(".qkv") else 1
                inputs, outputs, macs = (int(row[key]) for key in ("c_in", "c_out", "macs"))
                expected[taps * inputs, outputs // parts, macs // parts] += parts
    found = Counter(
        (record.matrix.k, record.matrix.n, record.macs)
        for record in _records(load_model(name).graph)
        if record.op in ("conv2d", "linear")
    )
    assert found == expected
    assert sum(macs * count for (_, _, macs), count in found.items()) / 1e9 == pytest.approx(total, abs=0.005)


@pytest.mark.parametrize("name", PUBLISHED)
def test_figures_of_the_list(name):
    """Parameters by torch, MACs by its FLOP counter; attention as plain products, so that it is counted."""
    model, loaded = PUBLISHED[name], load_model(name)
    (info,) = (info for info in list_models() if info.name == name)
    module, _ = instantiate(model.blueprint())
    assert info.parameters == sum(parameter.numel() for parameter in module.parameters())
    assert sum(record.macs for record in _records(loaded.graph)) == info.macs
    example = {"timestep": torch.zeros(1, dtype=torch.int64, device="meta")}
    sample = torch.zeros(1, *loaded.sample_shape, device="meta")
    repeated = 0
    if model.class_name == "DiTTransformer2DModel":
        example |= {"hidden_states": sample, "class_labels": example["timestep"]}
        # The first block's timestep embedder is called again behind the last one: two linear layers.
        width = model.config["num_attention_heads"] * model.config["attention_head_dim"]
        repeated = (256 + width) * width
    else:
        example["sample"] = sample
    if model.context:
        example["encoder_hidden_states"] = torch.zeros(1, *model.context[1:], device="meta")
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(**example)
    assert counter.get_total_flops() == 2 * (info.macs + repeated)


@pytest.mark.parametrize("name", PUBLISHED)
def test_schedules_are_those_of_diffusers(name):
    from diffusers import DDIMScheduler

    config = PUBLISHED[name].scheduler()
    ours, theirs = schedule_from_config(config, name), DDIMScheduler(**config)
    np.testing.assert_allclose(ours.alphas_cumprod, theirs.alphas_cumprod.numpy(), rtol=2e-5)
    assert ours.final_alpha == pytest.approx(float(theirs.final_alpha_cumprod), rel=1e-6)
    assert ours.clip is None


def test_a_published_model_by_name():
    model = load_model("ldm8-churches")
    assert (model.name, model.source) == ("ldm8-churches", "ldm8-churches")
    assert model.sample_shape == (4, 32, 32)
    assert (model.classes, model.null_label, model.guidance) == (0, None, 1.0)
    assert load_model("ldm8-churches").digest == model.digest
    used = {name for node in model.graph for name in node.parameters.values()}
    assert used == set(model.parameters)


def test_buffers_beside_the_weights_are_made_when_they_are_read():
    """The sinusoids of DiT's positions: 256 patches of 1152 numbers, sines and cosines."""
    model = load_model("dit-xl-2")
    positions = model.parameters["pos_embed.pos_embed"]
    assert positions.shape == (1, 256, 1152)
    np.testing.assert_allclose((positions**2).sum(-1), 1152 / 2, rtol=1e-6)
    used = {name for node in model.graph for name in node.parameters.values()}
    assert used == set(model.parameters)


def _small_module():
    return torch.nn.ModuleDict(
        {
            "linear": torch.nn.Linear(300, 200),
            "conv": torch.nn.Conv2d(8, 64, 3),
            "norm": torch.nn.GroupNorm(2, 500),
            "labels": torch.nn.Embedding(50, 40),
        }
    )


def test_random_weights_keep_the_variance():
    parameters = RandomParameters(
        parameters_of(_small_module()), tables={"context.weight": (5, 7, 9)}, constants={}
    )
    assert parameters["linear.weight"].std() == pytest.approx(300**-0.5, rel=0.02)
    assert parameters["conv.weight"].std() == pytest.approx(72**-0.5, rel=0.02)
    assert parameters["norm.weight"].mean() == pytest.approx(1.0, abs=0.02)
    assert parameters["context.weight"].shape == (5, 7, 9)
    for name, array in parameters.items():
        assert array.dtype == np.float32
        assert array.std() > 0.01, name
    assert parameters.keys() == {*_small_module().state_dict(), "context.weight"}


def test_roles_of_parameters():
    module = _small_module()
    module["norm"].register_buffer("count", torch.zeros(3))
    assert parameters_of(module) == {
        "linear.weight": Parameter("product", (200, 300)),
        "linear.bias": Parameter("bias", (200,)),
        "conv.weight": Parameter("product", (64, 8, 3, 3)),
        "conv.bias": Parameter("bias", (64,)),
        "norm.weight": Parameter("norm", (500,)),
        "norm.bias": Parameter("bias", (500,)),
        "norm.count": Parameter("buffer", (3,)),
        "labels.weight": Parameter("embedding", (50, 40)),
    }
    assert parameters_of(module).keys() - RandomParameters(
        parameters_of(module), tables={}, constants={}
    ).keys() == {"norm.count"}


def test_random_weights_are_the_same_every_time():
    first, second = (
        RandomParameters(parameters_of(_small_module()), tables={}, constants={"c": np.ones(3, np.float32)})
        for _ in "ab"
    )
    assert first.digest == second.digest
    assert all(np.array_equal(first[name], second[name]) for name in first)
    other = RandomParameters(parameters_of(_small_module()), tables={"t": (2,)}, constants={})
    assert other.digest != first.digest
    assert not np.array_equal(first["linear.bias"][:50], first["conv.bias"][:50])
