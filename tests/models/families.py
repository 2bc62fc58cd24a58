"""Small members of every supported family: few channels, the block types of the published models and more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SMALL_UNET = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
CROSS = {
    **SMALL_UNET,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 12,
    "attention_head_dim": 2,
}
PLAIN = {
    **SMALL_UNET,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 8,
}
DIT = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_embeds_ada_norm": 10,
}

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "ldm4-imagenet": ("UNet2DConditionModel", CROSS),
    "ldm4-bedrooms": ("UNet2DModel", PLAIN),
    "ldm8-churches": (
        "UNet2DModel",
        {
            **PLAIN,
            "up_block_types": ("ResnetUpsampleBlock2D", "AttnUpBlock2D"),
            "down_block_types": ("AttnDownBlock2D", "DownBlock2D"),
            "resnet_time_scale_shift": "scale_shift",
            "downsample_type": "resnet",
            "upsample_type": "resnet",
        },
    ),
    "dit-xl-2": ("DiTTransformer2DModel", DIT),
    "sd15": (
        "UNet2DConditionModel",
        {
            **CROSS,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        },
    ),
}
"""One small member per published model, in its block types."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear projection, scale and shift": (
        "UNet2DConditionModel",
        {**CROSS, "use_linear_projection": True, "resnet_time_scale_shift": "scale_shift"},
    ),
    "two transformer layers, only cross": (
        "UNet2DConditionModel",
        {**CROSS, "transformer_layers_per_block": 2, "only_cross_attention": True, "num_class_embeds": 5},
    ),
    "simple cross attention": (
        "UNet2DConditionModel",
        {
            **CROSS,
            "down_block_types": ("SimpleCrossAttnDownBlock2D", "ResnetDownsampleBlock2D"),
            "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
            "up_block_types": ("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"),
        },
    ),
    "plain middle": ("UNet2DConditionModel", {**CROSS, "mid_block_type": "UNetMidBlock2D"}),
    "padding on two sides": ("UNet2DModel", {**PLAIN, "downsample_padding": 0}),
    "scaled residuals": ("UNet2DModel", {**PLAIN, "mid_block_scale_factor": 2.0**0.5}),
    "centred sample": ("UNet2DModel", {**PLAIN, "center_input_sample": True}),
    "gelu": ("UNet2DModel", {**PLAIN, "act_fn": "gelu"}),
    "learned timesteps": (
        "UNet2DModel",
        {**PLAIN, "time_embedding_type": "learned", "num_train_timesteps": 1000},
    ),
    "resampling blocks": (
        "UNet2DModel",
        {
            **PLAIN,
            "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        },
    ),
    "affine norms, gated linear units": (
        "DiTTransformer2DModel",
        {**DIT, "norm_elementwise_affine": True, "activation_fn": "geglu", "out_channels": 4},
    ),
}
"""Further block types and options that diffusers offers."""

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "skip blocks": (
        "UNet2DModel",
        {
            **PLAIN,
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": (32, 64),
            "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
            "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
        },
        r"module 'down_blocks\.0\.resnet_down': operator 'aten\.lift_fresh_copy\.default'",
    ),
    "Fourier features": (
        "UNet2DModel",
        {**PLAIN, "time_embedding_type": "fourier"},
        r"module 'time_proj': operator 'aten\.log\.default'",
    ),
    "mish": (
        "UNet2DModel",
        {**PLAIN, "act_fn": "mish"},
        r"module 'down_blocks\.0\.resnets\.0\.nonlinearity': operator 'aten\.mish\.default'",
    ),
}
"""Options without a rule, and how the refusal begins."""


def random_module(class_name: str, config: dict[str, Any]) -> Any:
    """Return the diffusers module with random weights: no layer is zero, gains and offsets included."""
    import diffusers
    import torch

    generator = torch.Generator().manual_seed(7)
    module = getattr(diffusers, class_name)(**config)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 16
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * fan_in**-0.5)
            if "norm" in name and name.endswith("weight") and parameter.ndim == 1:
                parameter.add_(1.0)
    return module.eval()


def save_folder(module: Any, folder: Path) -> Path:
    """Save the module as a diffusers folder, with a context of five rows where it takes one."""
    from diffusers import DDIMScheduler

    from hqsim.io import write_tensors

    is_transformer = type(module).__name__ == "DiTTransformer2DModel"
    module.save_pretrained(folder / ("transformer" if is_transformer else "unet"))
    DDIMScheduler(num_train_timesteps=1000, clip_sample=False).save_pretrained(folder / "scheduler")
    if type(module).__name__ == "UNet2DConditionModel":
        table = np.random.default_rng(3).normal(size=(5, 3, module.config.cross_attention_dim))
        write_tensors(folder / "context.safetensors", {"context.weight": table.astype(np.float32)}, {})
    return folder
