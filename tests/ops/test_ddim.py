"""The sampler's arithmetic: steps against float64, guidance, noise, image codes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hqsim.ops.ddim import (
    SUMS,
    DdimStep,
    guidance_arrays,
    guide_real,
    image_arrays,
    image_exact,
    image_integer,
    noise_codes,
    step_codes,
    step_real,
    step_tables,
)
from tests import naive
from tests.ops.builders import FILLS, carrier, make_codes, sqnr_db

SAMPLE = carrier(2.0**-20, 24)


def schedule(count: int, clip: float | None = None) -> list[DdimStep]:
    """Steps of the scaled-linear schedule of latent diffusion (0.0015 to 0.0195, 1000 training steps)."""
    alphas = np.cumprod(1 - np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2)
    timesteps = np.arange(0, 1000, 1000 // count)[::-1] + 1
    following = [*timesteps[1:], 0]
    return [
        DdimStep(int(t), float(alphas[t]), float(alphas[n]), clip)
        for t, n in zip(timesteps, following, strict=True)
    ]


def denoise(x: np.ndarray, signal: float) -> np.ndarray:
    """The best noise estimate for data that are Gaussian of deviation 1/2, squashed a little."""
    estimate = (1 - signal) ** 0.5 * x / (signal / 4 + 1 - signal)
    return estimate + 0.1 * np.sin(3 * x)


def run_codes(codes: np.ndarray, noise_bits: int, steps: list[DdimStep], form: str) -> np.ndarray:
    noise_format = carrier(5.0 / 2 ** (noise_bits - 1), noise_bits)
    for step in steps:
        noise = noise_format.encode(denoise(codes * SAMPLE.scale, step.signal))
        tables = step_tables(step, sample=SAMPLE, noise=noise_format)
        codes, saturated = step_codes(codes, noise, tables, form=form, sample=SAMPLE)
        assert saturated == 0
    return codes


@pytest.mark.parametrize(("noise_bits", "reported_db"), [(24, 100.9), (16, 72.5)])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_fifty_steps_free_running(noise_bits: int, reported_db: float, clip: float | None) -> None:
    """NUMERICS.md section 10: x24/ε24 reaches 100.9 dB, x20/ε16 reaches 72.5 dB (x24/ε16 is not worse)."""
    start = noise_codes(seed=0, images=4, shape=(3, 16, 16), sample=SAMPLE)
    steps = schedule(50, clip)
    x = torch.from_numpy(start * SAMPLE.scale)
    for step in steps:
        x = step_real(x, torch.from_numpy(denoise(x.numpy(), step.signal)), step)
    codes = run_codes(start, noise_bits, steps, "integer")
    assert sqnr_db(x.numpy(), codes * SAMPLE.scale) >= reported_db - 1.0
    assert np.array_equal(codes, run_codes(start, noise_bits, steps, "exact"))


def test_a_step_is_equation_12_of_ddim() -> None:
    """Song et al.: x' = sqrt(a') (x - sqrt(1 - a) e) / sqrt(a) + sqrt(1 - a') e; here a = 0.25, a' = 0.64."""
    x, noise = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.5, 1.0]).double()
    expected = 0.8 * (x - 0.75**0.5 * noise) / 0.5 + 0.6 * noise
    assert torch.allclose(step_real(x, noise, DdimStep(1, 0.25, 0.64, None)), expected, rtol=1e-14)
    clipped = 0.8 * ((x - 0.75**0.5 * noise) / 0.5).clamp(-1, 1) + 0.6 * noise
    assert torch.allclose(step_real(x, noise, DdimStep(1, 0.25, 0.64, 1.0)), clipped, rtol=1e-14)


@given(
    st.integers(0, 2**32),
    st.floats(0.004, 0.98),
    st.floats(0.001, 0.9),
    st.booleans(),
    st.sampled_from(FILLS),
)
def test_both_forms_of_a_step(seed: int, signal: float, gained: float, clips: bool, fill: str) -> None:
    rng = np.random.default_rng(seed)
    step = DdimStep(1, signal, signal + gained * (1 - signal), 1.0 if clips else None)
    noise_format = carrier(1.5e-4)
    x = make_codes(rng, SAMPLE, (2, 3, 4), fill)
    noise = make_codes(rng, noise_format, (2, 3, 4), fill)
    tables = step_tables(step, sample=SAMPLE, noise=noise_format)
    results = [step_codes(x, noise, tables, form=form, sample=SAMPLE) for form in SUMS]
    assert np.array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert results[0][0].dtype == np.int32


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.5, 3.0, 7.5])
def test_guidance(weight: float) -> None:
    rng = np.random.default_rng(0)
    noise = carrier(1.5e-4)
    unconditional, conditional = rng.integers(-2000, 2001, (2, 2, 3, 5)).astype(np.int16)
    arrays = guidance_arrays(weight)
    codes, saturated = SUMS["integer"](unconditional, conditional, arrays, noise)
    exact, _ = SUMS["exact"](unconditional, conditional, arrays, noise)
    assert np.array_equal(codes, exact)
    assert saturated == 0
    real = guide_real(
        torch.from_numpy(unconditional).double(), torch.from_numpy(conditional).double(), weight
    )
    # Half a code of the one rounding, and factors of 15 bits on codes up to 2000.
    assert np.abs(codes - real.numpy()).max() <= 0.5 + 2 * 2000 * max(weight, 1.0) * 2**-15


def test_image_codes() -> None:
    """``(x + 1) * 127.5``: -1 is 0, 0 is 127.5 and rounds up, 1 is 255; outside saturates."""
    real = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.2])
    x = SAMPLE.encode(real).reshape(1, 1, 1, -1)
    for form in (image_integer, image_exact):
        codes, saturated = form(x, image_arrays(SAMPLE))
        assert codes.dtype == np.uint8
        assert codes.ravel().tolist() == [0, 0, 64, 128, 191, 255, 255]
        assert saturated == 2


def test_image_forms_agree_with_fractions() -> None:
    rng = np.random.default_rng(0)
    x = make_codes(rng, SAMPLE, (2, 1, 8, 8), "random") // 7
    arrays = image_arrays(SAMPLE)
    factor = Fraction(int(arrays["multiplier"][0]), 2 ** int(arrays["shift"][0]))
    values = [naive.round_half_up(int(code) * factor + Fraction(255, 2)) for code in x.ravel()]
    expected, saturated = naive.clamp_all(np.array(values, object).reshape(x.shape), 0, 255)
    for form in (image_integer, image_exact):
        codes, count = form(x, arrays)
        assert np.array_equal(codes, expected)
        assert count == saturated > 0


def test_noise_of_an_image_does_not_depend_on_the_others() -> None:
    many = noise_codes(seed=3, images=5, shape=(2, 8, 8), sample=SAMPLE)
    few = noise_codes(seed=3, images=2, shape=(2, 8, 8), sample=SAMPLE)
    assert np.array_equal(many[:2], few)
    assert not np.array_equal(many[0], many[1])
    assert not np.array_equal(few, noise_codes(seed=3, images=2, shape=(2, 8, 8), sample=SAMPLE, stream=1))
    assert not np.array_equal(few, noise_codes(seed=4, images=2, shape=(2, 8, 8), sample=SAMPLE))
    assert many.dtype == np.int32
    assert abs(float((many * SAMPLE.scale).std()) - 1) < 0.1
