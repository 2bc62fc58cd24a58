"""The figures of ``hqsim models`` against the models themselves and torch's own FLOP counter."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hqsim.models import list_models
from hqsim.models.load import CHECKPOINTS
from hqsim.ops import OPERATORS, WorkContext
from hqsim.quantize import load_recipe
from hqsim.quantize.lower import lower, width_formats


def _flop_counter_macs(module, size):
    """Half of the FLOPs of one call with one image; attention by plain products, so that it is counted."""
    example = {
        "sample": torch.zeros(1, 1, size, size),
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
        ("ldm4-imagenet", False),
        ("ldm4-bedrooms", False),
        ("ldm8-churches", False),
        ("dit-xl-2", False),
        ("sd15", False),
    ]


def test_figures_of_digits(digits_model):
    from diffusers import UNet2DModel

    (info,) = (info for info in list_models() if info.name == "digits")
    module = UNet2DModel.from_pretrained(CHECKPOINTS / "digits" / "unet").eval()
    assert info.kind == type(module).__name__
    assert info.embedded
    assert info.parameters == digits_model.parameter_count == sum(p.numel() for p in module.parameters())
    assert info.macs == _flop_counter_macs(module, 32)


def test_layer_records_count_what_the_flop_counter_counts(tiny_module, tiny_model, digits_model):
    assert _record_macs(tiny_model) == _flop_counter_macs(tiny_module, 16)
    assert _record_macs(tiny_model, batch=6) == 6 * _record_macs(tiny_model)
    (info,) = (info for info in list_models() if info.name == "digits")
    assert _record_macs(digits_model) == info.macs


def test_the_embedded_checkpoint_is_small():
    weights = CHECKPOINTS / "digits" / "unet" / "diffusion_pytorch_model.safetensors"
    assert weights.stat().st_size <= 8_000_000
