"""Published architectures as diffusers configurations, with random weights.

Nothing is downloaded: for real weights, load a diffusers folder. A context (the class embedder of the
ImageNet LDM, the text encoder of Stable Diffusion) is a table that is made offline, one row per label, the
last row for "no class" or the empty prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hqsim.models.architecture import CONTEXT, Blueprint
from hqsim.models.build import Constants
from hqsim.models.captured import shipped
from hqsim.models.model import Model
from hqsim.models.random_weights import RandomParameters
from hqsim.models.schedule import schedule_from_config


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published model; ``context`` is the shape ``[rows, tokens, dim]`` of the table beside it."""

    class_name: str
    description: str
    source: str
    config: Mapping[str, Any]
    beta_schedule: str
    betas: tuple[float, float]
    steps_offset: int = 0
    alpha_to_one: bool = True
    context: tuple[int, int, int] | None = None
    guidance: float = 1.0

    def load(self, name: str, *, weights: bool = True) -> Model:
        """Return the captured model; its weights are made when they are read."""
        architecture = shipped(name)
        parameters: Mapping[str, np.ndarray] = {}
        digest = ""
        if weights:
            parameters = random = RandomParameters(
                architecture.parameters,
                tables={CONTEXT: self.context} if self.context else {},
                constants=Constants(architecture.constants, self.blueprint()),
            )
            digest = random.digest
        return Model(
            name=name,
            source=name,
            graph=architecture.graph,
            parameters=parameters,
            schedule=schedule_from_config(self.scheduler(), name),
            digest=digest,
            sample_shape=architecture.sample_shape,
            classes=max(architecture.rows - 1, 0),
            null_label=architecture.rows - 1 if architecture.rows else None,
            guidance=self.guidance,
        )

    def blueprint(self) -> Blueprint:
        """Return what the model is captured from."""
        scheduler = self.scheduler()
        return Blueprint(
            class_name=self.class_name,
            config=self.config,
            context=self.context,
            train_timesteps=scheduler["num_train_timesteps"],
        )

    def scheduler(self) -> dict[str, Any]:
        """Return the model's schedule as a diffusers ``scheduler_config.json``."""
        return {
            "num_train_timesteps": 1000,
            "beta_schedule": self.beta_schedule,
            "beta_start": self.betas[0],
            "beta_end": self.betas[1],
            "clip_sample": False,
            "set_alpha_to_one": self.alpha_to_one,
            "steps_offset": self.steps_offset,
        }


PUBLISHED = {
    "ldm4-imagenet": Published(
        class_name="UNet2DConditionModel",
        description="latent diffusion, f = 4, class-conditional ImageNet 256 x 256",
        source="Rombach et al., CVPR 2022; CompVis configs/latent-diffusion/cin256-v2.yaml",
        config={
            "sample_size": 64,
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": (192, 384, 576, 960),
            "layers_per_block": 2,
            "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 3),
            "up_block_types": (*["CrossAttnUpBlock2D"] * 3, "UpBlock2D"),
            "cross_attention_dim": 512,
            "attention_head_dim": 1,  # diffusers reads this as the number of heads
        },
        beta_schedule="scaled_linear",
        betas=(0.0015, 0.0195),
        context=(1001, 1, 512),
        guidance=3.0,
    ),
    "ldm4-bedrooms": Published(
        class_name="UNet2DModel",
        description="latent diffusion, f = 4, unconditional LSUN bedrooms 256 x 256",
        source="Rombach et al., CVPR 2022; CompVis models/ldm/lsun_beds256/config.yaml",
        config={
            "sample_size": 64,
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": (224, 448, 672, 896),
            "layers_per_block": 2,
            "down_block_types": ("DownBlock2D", *["AttnDownBlock2D"] * 3),
            "up_block_types": (*["AttnUpBlock2D"] * 3, "UpBlock2D"),
            "attention_head_dim": 32,
        },
        beta_schedule="scaled_linear",
        betas=(0.0015, 0.0195),
    ),
    "ldm8-churches": Published(
        class_name="UNet2DModel",
        description="latent diffusion, f = 8, unconditional LSUN churches 256 x 256",
        source="Rombach et al., CVPR 2022; CompVis models/ldm/lsun_churches256/config.yaml (8 heads per "
        "level there; diffusers has heads of one size, here 24 channels)",
        config={
            "sample_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": (192, 384, 384, 768, 768),
            "layers_per_block": 2,
            "down_block_types": (*["AttnDownBlock2D"] * 4, "DownBlock2D"),
            "up_block_types": ("ResnetUpsampleBlock2D", *["AttnUpBlock2D"] * 4),
            "attention_head_dim": 24,
            "resnet_time_scale_shift": "scale_shift",
            "downsample_type": "resnet",
            "upsample_type": "resnet",
        },
        beta_schedule="scaled_linear",
        betas=(0.0015, 0.0155),
    ),
    "dit-xl-2": Published(
        class_name="DiTTransformer2DModel",
        description="diffusion transformer XL/2, class-conditional ImageNet 256 x 256",
        source="Peebles and Xie, ICCV 2023; diffusers folder facebook/DiT-XL-2-256",
        config={
            "sample_size": 32,
            "in_channels": 4,
            "out_channels": 8,
            "num_layers": 28,
            "num_attention_heads": 16,
            "attention_head_dim": 72,
            "num_embeds_ada_norm": 1000,
        },
        beta_schedule="linear",
        betas=(0.0001, 0.02),
        guidance=4.0,
    ),
    "sd15": Published(
        class_name="UNet2DConditionModel",
        description="Stable Diffusion 1.5, text to image 512 x 512, four stand-ins for prompts",
        source="Rombach et al., CVPR 2022; diffusers folder stable-diffusion-v1-5",
        config={
            "sample_size": 64,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": (320, 640, 1280, 1280),
            "layers_per_block": 2,
            "down_block_types": (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
            "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
            "cross_attention_dim": 768,
            "attention_head_dim": 8,  # diffusers reads this as the number of heads
        },
        beta_schedule="scaled_linear",
        betas=(0.00085, 0.012),
        steps_offset=1,
        alpha_to_one=False,
        context=(5, 77, 768),
        guidance=7.5,
    ),
}
