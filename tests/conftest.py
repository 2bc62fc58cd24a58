"""What the whole suite shares: settings, and models that are made once per run."""

import os

import pytest
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile("hqsim", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("hqsim")


@pytest.fixture(scope="session", autouse=True)
def _own_captures(tmp_path_factory):
    """Captures of this run are kept apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setattr("hqsim.models.captured.cache_folder", lambda: folder)
        yield


@pytest.fixture(scope="session")
def tiny_module():
    """A small class-conditional UNet with attention and random weights, gains and offsets included."""
    import torch
    from diffusers import UNet2DModel

    generator = torch.Generator().manual_seed(7)
    module = UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
        num_class_embeds=4,
    )
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 16
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * fan_in**-0.5)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)
    return module.eval()


@pytest.fixture(scope="session")
def tiny_folder(tiny_module, tmp_path_factory):
    """The small UNet as diffusers saves it. Read only: copy it before changing anything."""
    from diffusers import DDIMScheduler

    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_module.save_pretrained(folder / "unet")
    scheduler = DDIMScheduler(num_train_timesteps=1000, beta_schedule="linear", clip_sample=True)
    scheduler.save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_folder):
    """The small UNet, loaded and captured."""
    from hqsim.models import load_model

    return load_model(tiny_folder)


@pytest.fixture(scope="session")
def tiny_qmodel(tiny_model):
    """The small UNet under ``hqdm-w4a4``, calibrated on two guided images of three steps."""
    from hqsim.quantize import quantize

    return quantize(tiny_model, "hqdm-w4a4", steps=3, images=2, guidance=1.5)


@pytest.fixture(scope="session")
def tiny_dit(tmp_path_factory):
    """A small class-conditional diffusion transformer with random weights, loaded and captured."""
    from hqsim.models import load_model
    from tests.models.families import FAMILIES, random_module, save_folder

    module = random_module(*FAMILIES["dit-xl-2"])
    return load_model(save_folder(module, tmp_path_factory.mktemp("models") / "tiny-dit"))


@pytest.fixture(scope="session")
def digits_model():
    """The embedded model."""
    from hqsim.models import load_model

    return load_model("digits")
