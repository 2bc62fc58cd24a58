"""The training of the embedded models: it learns, it resumes to the same weights, it starts at zero."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import DiTTransformer2DModel

from hqsim.models import train_denoiser as module
from hqsim.models.digits_data import DigitsSplit
from hqsim.models.train_denoiser import NULL_LABEL, TrainingSettings, train_denoiser
from hqsim.models.train_digits_dit import make_dit

SETTINGS = TrainingSettings(steps=6, batch=4, warmup_steps=2, bfloat16=False)


def _tiny():
    return DiTTransformer2DModel(
        sample_size=8,
        patch_size=4,
        in_channels=1,
        out_channels=1,
        num_layers=1,
        num_attention_heads=1,
        attention_head_dim=8,
        num_embeds_ada_norm=NULL_LABEL,
    ).eval()


@pytest.fixture
def train(tmp_path):
    """Train a tiny transformer on ten images of one grey each; every call goes on from the same state."""
    grey = np.linspace(-1, 1, 10, dtype=np.float32)
    data = DigitsSplit(np.broadcast_to(grey[:, None, None, None], (10, 1, 8, 8)).copy(), np.arange(10))
    files = {"state_file": tmp_path / "state.pt", "curve_file": tmp_path / "curve.csv"}
    return partial(train_denoiser, _tiny, data, device="cpu", **files)


def _weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_killed_run_ends_with_the_same_weights(train, tmp_path, monkeypatch):
    expected = _weights(train(SETTINGS))
    (tmp_path / "state.pt").unlink()
    monkeypatch.setattr(module, "SAVE_EVERY", 2)
    save = module._save_state

    def save_and_die(*state):
        save(*state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_save_state", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train(SETTINGS)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 2
    assert torch.equal(_weights(train(SETTINGS)), expected)


def test_the_loss_falls(train, tmp_path):
    train(replace(SETTINGS, steps=100, learning_rate=3e-3))
    rows = [line.split(",") for line in (tmp_path / "curve.csv").read_text().splitlines()]
    assert rows[0] == ["step", "loss"]
    assert [row[0] for row in rows[1:]] == ["50", "100"]
    assert float(rows[2][1]) < 0.95 * float(rows[1][1])


def test_every_block_of_the_transformer_starts_as_the_identity():
    """The gates are zero, so the tokens pass unchanged; and the untrained noise is zero."""
    model = make_dit()
    entered, left = [], []
    model.transformer_blocks[0].register_forward_hook(lambda _, given, __: entered.append(given[0]))
    model.transformer_blocks[-1].register_forward_hook(lambda _, __, result: left.append(result))
    with torch.no_grad():
        noise = model(
            torch.randn(2, 1, 32, 32), timestep=torch.tensor([3, 900]), class_labels=torch.tensor([1, 10])
        ).sample
    assert torch.equal(entered[0], left[0])
    assert not noise.any()
