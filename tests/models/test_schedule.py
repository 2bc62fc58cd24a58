"""The schedule and its steps against diffusers' DDIMScheduler, and its constants against long doubles."""

import numpy as np
import pytest
import torch

from hqsim.errors import InputError, UnsupportedError
from hqsim.models.schedule import schedule_from_config
from hqsim.ops.ddim import guide_real, step_real

CONFIG = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "clip_sample": True,
    "set_alpha_to_one": True,
    "steps_offset": 0,
}
VARIANTS = {
    "digits": {},
    "unclipped": {"clip_sample": False},
    "wide clip": {"clip_sample_range": 2.5},
    "last alpha": {"clip_sample": False, "set_alpha_to_one": False},
    "offset": {"clip_sample": False, "steps_offset": 1, "set_alpha_to_one": False},
    "latent": {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.0015,
        "beta_end": 0.0195,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    },
    "short": {"num_train_timesteps": 100, "beta_end": 0.2},
}


def _pair(variant, *, double):
    """Our schedule and diffusers', the latter in float64 with our own ᾱ when ``double``."""
    from diffusers import DDIMScheduler

    config = {**CONFIG, **VARIANTS[variant]}
    ours, theirs = schedule_from_config(config, "scheduler_config.json"), DDIMScheduler(**config)
    if double:
        theirs.alphas_cumprod = torch.from_numpy(ours.alphas_cumprod.copy())
        last = theirs.alphas_cumprod[0]
        theirs.final_alpha_cumprod = torch.ones_like(last) if theirs.config.set_alpha_to_one else last
    return ours, theirs


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("steps", [1, 3, 7, 20, 50, 99])
def test_timesteps(variant, steps):
    ours, theirs = _pair(variant, double=False)
    theirs.set_timesteps(steps)
    found = ours.timesteps(steps)
    assert found.dtype == np.int64
    assert found.tolist() == theirs.timesteps.tolist()


def test_twenty_steps_of_a_thousand():
    ours, _ = _pair("digits", double=False)
    assert ours.timesteps(20).tolist() == list(range(950, -1, -50))
    assert ours.timesteps(1000).tolist() == list(range(999, -1, -1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_signal_fractions(variant):
    """Against diffusers in float32, and to the last digits of float64 against long doubles."""
    ours, theirs = _pair(variant, double=False)
    config = {**CONFIG, **VARIANTS[variant]}
    root = 0.5 if config["beta_schedule"] == "scaled_linear" else 1.0
    count = config["num_train_timesteps"]
    start, end = (np.longdouble(config[key]) ** np.longdouble(root) for key in ("beta_start", "beta_end"))
    betas = (start + (end - start) * np.arange(count, dtype=np.longdouble) / (count - 1)) ** (1 / root)
    np.testing.assert_allclose(ours.alphas_cumprod, np.cumprod(1 - betas).astype(np.float64), rtol=1e-12)
    np.testing.assert_allclose(ours.alphas_cumprod, theirs.alphas_cumprod.numpy(), rtol=2e-5)
    assert ours.final_alpha == pytest.approx(float(theirs.final_alpha_cumprod), rel=1e-6)
    assert ours.train_timesteps == count


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("steps", [1, 4, 20])
def test_every_step_is_that_of_diffusers(variant, steps):
    """One step at a time from random samples, float64: clipping is hit at the noisy end."""
    ours, theirs = _pair(variant, double=True)
    theirs.set_timesteps(steps)
    generator = torch.Generator().manual_seed(steps)
    for step in ours.steps(steps):
        x, noise = (
            torch.randn(2, 1, 8, 8, generator=generator, dtype=torch.float64) * factor for factor in (1.5, 1)
        )
        expected = theirs.step(noise, step.timestep, x).prev_sample
        torch.testing.assert_close(step_real(x, noise, step), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("double", "tolerance"), [(True, 1e-9), (False, 1e-3)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_whole_run_ends_where_diffusers_ends(variant, double, tolerance):
    """With a fixed function as the model; float32 is diffusers as it comes."""
    ours, theirs = _pair(variant, double=double)
    theirs.set_timesteps(20)
    dtype = torch.float64 if double else torch.float32
    x = y = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    for step in ours.steps(20):
        x = step_real(x, torch.tanh(x), step)
        y = theirs.step(torch.tanh(y), step.timestep, y).prev_sample
    assert (x - y).abs().max() < tolerance * y.abs().max()


def test_clipping_is_really_used():
    """At the noisiest step x0 leaves [-1, 1], so the two schedules part."""
    clipped, _ = _pair("digits", double=True)
    free, _ = _pair("unclipped", double=True)
    x, noise = torch.full((1, 1, 1, 1), 2.0), torch.zeros(1, 1, 1, 1)
    first, other = clipped.steps(20)[0], free.steps(20)[0]
    assert first.clip == 1.0
    assert other.clip is None
    assert float(step_real(x, noise, first)) == pytest.approx(first.next_signal**0.5)
    expected = 2.0 * (other.next_signal / other.signal) ** 0.5
    assert float(step_real(x, noise, other)) == pytest.approx(expected)


def test_the_last_step_goes_to_the_final_signal():
    to_one, _ = _pair("digits", double=True)
    to_first, _ = _pair("last alpha", double=True)
    assert to_one.steps(20)[-1].next_signal == 1.0
    assert to_first.steps(20)[-1].next_signal == to_first.alphas_cumprod[0]
    assert [step.timestep for step in to_one.steps(20)] == to_one.timesteps(20).tolist()


def test_guidance_extrapolates_from_the_unconditional_half():
    """εu + w (εc - εu) with εu = 1, εc = 3."""
    found = [float(guide_real(torch.tensor(1.0), torch.tensor(3.0), w)) for w in (0.0, 1.0, 1.5, 2.0)]
    assert found == [1.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("method", ["timesteps", "steps"])
@pytest.mark.parametrize("steps", [-1, 0, 1001])
def test_impossible_numbers_of_steps(steps, method):
    ours, _ = _pair("digits", double=False)
    with pytest.raises(InputError, match=rf"^steps: got {steps}, allowed 1 to 1000$"):
        getattr(ours, method)(steps)


def test_an_offset_beyond_the_last_timestep():
    ours, _ = _pair("offset", double=False)
    assert ours.timesteps(999)[0] == 999
    message = (
        r"^steps: got 1000, but with the schedule's steps_offset of 1 the first timestep would be 1000, "
        r"allowed 0 to 999; use fewer steps$"
    )
    with pytest.raises(InputError, match=message):
        ours.timesteps(1000)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("prediction_type", "v_prediction", "got 'v_prediction', supported: 'epsilon'"),
        ("thresholding", True, "got True, supported: False"),
        ("timestep_spacing", "trailing", "got 'trailing', supported: 'leading'"),
        ("rescale_betas_zero_snr", True, "got True, supported: False"),
        ("trained_betas", [0.1], r"got \[0\.1\], supported: None"),
        (
            "beta_schedule",
            "squaredcos_cap_v2",
            "got 'squaredcos_cap_v2', supported: 'linear', 'scaled_linear'",
        ),
    ],
)
def test_what_the_integer_sampler_does_not_have(key, value, message):
    with pytest.raises(UnsupportedError, match=rf"^s\.json: {key}: {message}$"):
        schedule_from_config({**CONFIG, key: value}, "s.json")


def test_missing_keys_are_named():
    config = {key: value for key, value in CONFIG.items() if not key.startswith("beta_s")}
    with pytest.raises(
        InputError, match=r"^s\.json: beta_schedule, beta_start: missing; save the scheduler with diffusers$"
    ):
        schedule_from_config(config, "s.json")
