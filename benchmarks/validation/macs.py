"""MACs of every built-in model against torch's FLOP counter, and of three UNets against published lists.

The list (``tests/data/ldm_layers.csv``) holds the convolutions and linear layers of the CompVis modules,
where q, k and v are one layer. A layer is equal when its inputs times taps, its outputs and its MACs are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmarks.validation import DATA, show, with_errors
from hqsim.graph import LayerRecord
from hqsim.models import load_model
from hqsim.models.architecture import Blueprint
from hqsim.models.build import instantiate
from hqsim.models.load import blueprints
from hqsim.ops.records import layer_records
from hqsim.quantize import load_recipe
from hqsim.quantize.lower import lower, width_formats

#: Names in the list, and billions of MACs of convolutions and linear layers as published.
LISTED = {
    "ldm4-imagenet": ("LDM-4 ImageNet (cin256-v2)", 99.77),
    "ldm4-bedrooms": ("LDM-4 LSUN-Bedrooms", 96.02),
    "ldm8-churches": ("LDM-8 LSUN-Churches", 18.64),
}
Layers = Counter[tuple[int, int, int]]
"""How many layers have ``(k, n, MACs)``."""


def model_records(name: str) -> list[LayerRecord]:
    """Return the records of one step of one image."""
    recipe = load_recipe("ptq-w8a8")
    lowered = lower(load_model(name, weights=False).graph, recipe)
    return layer_records(lowered, width_formats(lowered, recipe, {}), images=1, guided=False)


def counted_macs(blueprint: Blueprint, sample_shape: Sequence[int]) -> int:
    """Return half of what torch's FLOP counter counts on the meta device, attention as plain products."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    module, _ = instantiate(blueprint)
    config: Any = module.config
    labels = torch.zeros(1, dtype=torch.int64, device="meta")
    inputs = {"timestep": labels}
    sample = torch.zeros(1, *sample_shape, device="meta")
    repeated = 0
    if blueprint.class_name == "DiTTransformer2DModel":
        inputs |= {"hidden_states": sample, "class_labels": labels}
        # diffusers calls the first timestep embedder again behind the last block; hqsim reuses its result.
        width = config.num_attention_heads * config.attention_head_dim
        repeated = (256 + width) * width
    else:
        inputs["sample"] = sample
        if config.num_class_embeds and not blueprint.context:
            inputs["class_labels"] = labels
    if blueprint.context:
        inputs["encoder_hidden_states"] = torch.zeros(1, *blueprint.context[1:], device="meta")
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(**inputs)
    return counter.get_total_flops() // 2 - repeated


def listed_layers(model: str) -> Layers:
    """Return the layers of a published list."""
    layers: Layers = Counter()
    table = pd.read_csv(DATA / "ldm_layers.csv")
    for row in table[table["model"] == model].to_dict("records"):
        taps = 9 if row["type"].startswith("conv3x3") else 1
        parts = 3 if row["name"].endswith(".qkv") else 1
        layers[taps * row["c_in"], row["c_out"] // parts, row["macs"] // parts] += parts
    return layers


def compare() -> pd.DataFrame:
    """Return one row per model, then total and equal layers of the listed ones."""
    rows = []
    records = {name: model_records(name) for name in blueprints()}
    for name, blueprint in blueprints().items():
        modelled = sum(record.macs for record in records[name])
        counted = counted_macs(blueprint, load_model(name, weights=False).sample_shape)
        rows.append({"model": name, "quantity": "MACs", "published": counted, "modelled": modelled})
    for name, (listed_name, gmacs) in LISTED.items():
        listed = listed_layers(listed_name)
        found: Layers = Counter(
            (record.matrix.k, record.matrix.n, record.macs)
            for record in records[name]
            if record.matrix and record.op in ("conv2d", "linear")
        )
        modelled = sum(macs * count for (_, _, macs), count in found.items())
        rows += [
            {"model": name, "quantity": "GMAC", "published": gmacs, "modelled": modelled / 1e9},
            {
                "model": name,
                "quantity": "equal layers",
                "published": listed.total(),
                "modelled": (found & listed).total(),
            },
        ]
    return with_errors(rows)


if __name__ == "__main__":
    show(compare())
