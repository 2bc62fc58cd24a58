"""The sampler's own arithmetic: noise codes, guidance, the DDIM step, image codes.

| step | float | integer |
|---|---|---|
| guidance | ``εu + w (εc - εu)`` | ``rhu(εu A + εc B, s)``, one rounding, 16 bits |
| DDIM, η = 0 | ``a x + b ε`` | ``rhu(x MA + ε MB, 22)``, scales in ``MB``, x in 24 bits |
| with clipping | ``x0 = clip(a x + b ε)``, ``x' = c x0 + d ε`` | the same sum twice, ``x0`` clamped |
| image | ``(x + 1) 127.5`` | ``rhu(x M + 127.5 * 2**s, s)``, unsigned 8 bits |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hqsim.numerics import Format, dyadic, round_half_up, shift_round_half_up
from hqsim.ops.add import weighted_sum_arrays, weighted_sum_exact, weighted_sum_integer
from hqsim.ops.base import Arrays, Result, exact_clamp
from hqsim.ops.rescale import rescale_integer

if TYPE_CHECKING:
    from torch import Tensor

STEP_SHIFT = 22
IMAGE = Format(bits=8, scales=(1 / 127.5,), signed=False)


@dataclass(frozen=True)
class DdimStep:
    """One deterministic DDIM step from ``ᾱ`` to ``ᾱ'`` (η = 0).

    ``x0 = (x - sqrt(1 - ᾱ) ε) / sqrt(ᾱ)``, clipped to ``[-clip, clip]`` where the schedule says so, then
    ``x' = sqrt(ᾱ') x0 + sqrt(1 - ᾱ') ε`` (Song et al., DDIM, equation 12).
    """

    timestep: int
    signal: float
    next_signal: float
    clip: float | None

    @property
    def clean(self) -> tuple[float, float]:
        """Factors of x and of ε in ``x0``."""
        return self.signal**-0.5, -(((1.0 - self.signal) / self.signal) ** 0.5)

    @property
    def forward(self) -> tuple[float, float]:
        """Factors of ``x0`` and of ε in ``x'``."""
        return self.next_signal**0.5, (1.0 - self.next_signal) ** 0.5

    @property
    def direct(self) -> tuple[float, float]:
        """Factors of x and of ε in ``x'`` when nothing is clipped."""
        (of_sample, of_noise), (of_clean, of_noise_again) = self.clean, self.forward
        return of_clean * of_sample, of_clean * of_noise + of_noise_again


WeightedSum = Callable[[np.ndarray, np.ndarray, Arrays, Format], Result]
SUMS: dict[str, WeightedSum] = {"integer": weighted_sum_integer, "exact": weighted_sum_exact}
"""Guidance and steps are weighted sums of two code arrays: by the kernel, or plainly."""


def guide_real(unconditional: Tensor, conditional: Tensor, weight: float) -> Tensor:
    """Return ``εu + w (εc - εu)`` in torch."""
    return unconditional + weight * (conditional - unconditional)


def step_real(x: Tensor, noise: Tensor, step: DdimStep) -> Tensor:
    """Return the sample after one step in torch."""
    if step.clip is None:
        return step.direct[0] * x + step.direct[1] * noise
    clean = (step.clean[0] * x + step.clean[1] * noise).clamp(-step.clip, step.clip)
    return step.forward[0] * clean + step.forward[1] * noise


def noise_codes(
    *, seed: int, images: int, shape: Sequence[int], sample: Format, stream: int = 0, first: int = 0
) -> np.ndarray:
    """Return Gaussian noise as codes of the sampler, int32 ``[images, *shape]``.

    Image ``i``, counted from ``first``, has a generator of its own, so its noise does not depend on how many
    images are made. ``stream`` keeps calibration (1) apart from evaluation (0).
    """
    numbers = range(first, first + images)
    rows = [np.random.default_rng([seed, stream, image]).standard_normal(shape) for image in numbers]
    return sample.encode(np.stack(rows))


def guidance_arrays(weight: float) -> dict[str, np.ndarray]:
    """Return the integer parameters of ``(1 - w) εu + w εc``."""
    return weighted_sum_arrays(1.0 - weight, weight)


def step_arrays(factors: tuple[float, float], *, sample: Format, noise: Format) -> dict[str, np.ndarray]:
    """Return the integer parameters of ``factors[0] * x + factors[1] * ε`` in codes of the sample."""
    of_sample, of_noise = factors
    return {
        "multiplier_a": round_half_up([of_sample * 2.0**STEP_SHIFT]),
        "multiplier_b": round_half_up([of_noise * noise.scale / sample.scale * 2.0**STEP_SHIFT]),
        "shift": np.array([STEP_SHIFT], np.int64),
    }


@dataclass(frozen=True)
class StepTables:
    """The integer parameters of one step: one weighted sum, or two with the limit of ``x0`` between them."""

    first: Arrays
    second: Arrays | None
    limit: int


def step_tables(step: DdimStep, *, sample: Format, noise: Format) -> StepTables:
    """Return the integer parameters of ``step`` (offline)."""
    if step.clip is None:
        return StepTables(step_arrays(step.direct, sample=sample, noise=noise), None, 0)
    return StepTables(
        step_arrays(step.clean, sample=sample, noise=noise),
        step_arrays(step.forward, sample=sample, noise=noise),
        int(round_half_up(step.clip / sample.scale)),
    )


def step_codes(x: np.ndarray, noise: np.ndarray, tables: StepTables, *, form: str, sample: Format) -> Result:
    """Return the sample after one step, and how many codes left the sampler's 24 bits.

    ``form`` is ``integer`` or ``exact``. Clipping ``x0`` is part of the schedule and not counted.
    """
    weighted_sum = SUMS[form]
    if tables.second is None:
        return weighted_sum(x, noise, tables.first, sample)
    clean, _ = weighted_sum(x, noise, tables.first, sample)
    return weighted_sum(np.clip(clean, -tables.limit, tables.limit), noise, tables.second, sample)


def image_arrays(sample: Format) -> dict[str, np.ndarray]:
    """Return the integer parameters of ``(x + 1) * 127.5``."""
    factor = dyadic(np.array([sample.scale * 127.5]), what="image")
    return {"multiplier": factor.multiplier, "shift": factor.shift}


def image_integer(x: np.ndarray, arrays: Arrays) -> Result:
    """Image codes uint8 by kernel ``rescale``, with 255 halves added."""
    shift = arrays["shift"][0]
    codes, saturated = rescale_integer(x, arrays["multiplier"], shift, IMAGE, np.int64(255) << (shift - 1))
    return codes.astype(np.uint8), saturated


def image_exact(x: np.ndarray, arrays: Arrays) -> Result:
    """Image codes uint8, plainly."""
    places = arrays["shift"][0]
    total = x.astype(np.int64) * arrays["multiplier"][0] + (255 << (places - 1))
    codes, saturated = exact_clamp(shift_round_half_up(total, places), IMAGE)
    return codes.astype(np.uint8), saturated
