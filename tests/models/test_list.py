"""The figures of ``hqsim models`` against the models themselves and torch's own FLOP counter."""

import inspect

import diffusers
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hqsim.models import list_models
from hqsim.models.load import CHECKPOINTS, WEIGHTS
from hqsim.ops import OPERATORS, WorkContext
from hqsim.quantize import load_recipe
from hqsim.quantize.lower import lower, width_formats


def _flop_counter_macs(module, size):
    """Half of the FLOPs of one call with one image; attention by plain products, so that it is counted."""
    example = {
        next(iter(inspect.signature(module.forward).parameters)): torch.zeros(1, 1, size, size),
        "timestep": torch.zeros(1, dtype=torch.int64),
        "class_labels": torch.zeros(1, dtype=torch.int64),
    }
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(**example)
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def _record_macs(model, batch=1):
    recipe = load_recipe("hqdm-w4a4")
    lowered = lower(model.graph, recipe)
    context = WorkContext(lowered, width_formats(lowered, recipe, {}), batch, {})
    records = (OPERATORS[node.op].record(node, context) for node in lowered)
    return sum(record.macs for record in records if record)


def test_the_models_that_are_listed():
    assert [(info.name, info.embedded) for info in list_models()] == [
        ("digits", True),
        ("digits-dit", True),
        ("ldm4-imagenet", False),
        ("ldm4-bedrooms", False),
        ("ldm8-churches", False),
        ("dit-xl-2", False),
        ("sd15", False),
    ]


@pytest.mark.parametrize(
    ("name", "part", "kind", "twice"),
    [
        ("digits", "unet", "UNet2DModel", 0),
        ("digits-dit", "transformer", "DiTTransformer2DModel", 256 * 128 + 128 * 128),
    ],
)
def test_figures_of_an_embedded_model(name, part, kind, twice):
    """``twice``: for its last layer diffusers runs block 0's time MLP again; the graph runs it once."""
    (info,) = (info for info in list_models() if info.name == name)
    module = getattr(diffusers, kind).from_pretrained(CHECKPOINTS / name / part).eval()
    assert info.kind == kind
    assert info.embedded
    assert info.parameters == sum(p.numel() for p in module.parameters())
    assert info.macs == _flop_counter_macs(module, 32) - twice


def test_layer_records_count_what_the_flop_counter_counts(tiny_module, tiny_model, digits_model):
    assert _record_macs(tiny_model) == _flop_counter_macs(tiny_module, 16)
    assert _record_macs(tiny_model, batch=6) == 6 * _record_macs(tiny_model)
    (info,) = (info for info in list_models() if info.name == "digits")
    assert _record_macs(digits_model) == info.macs


@pytest.mark.parametrize("weights", ["digits/unet", "digits-dit/transformer"])
def test_the_embedded_checkpoints_are_small(weights):
    assert (CHECKPOINTS / weights / WEIGHTS).stat().st_size <= 8_000_000
