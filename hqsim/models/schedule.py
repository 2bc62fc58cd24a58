"""The noise schedule and the DDIM timesteps, in plain numpy (offline preparation of the sampler)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hqsim.errors import InputError, UnsupportedError
from hqsim.ops.ddim import DdimStep


@dataclass(frozen=True)
class Schedule:
    """Cumulative signal fractions ``ᾱ`` float64 ``[train timesteps]`` and how to step through them."""

    alphas_cumprod: np.ndarray
    final_alpha: float
    steps_offset: int
    clip: float | None

    @cached_property
    def digest(self) -> str:
        """A sha256 of the whole schedule."""
        rest = repr((self.final_alpha, self.steps_offset, self.clip))
        return hashlib.sha256(self.alphas_cumprod.tobytes() + rest.encode()).hexdigest()

    @property
    def train_timesteps(self) -> int:
        """Number of timesteps that the model was trained with."""
        return len(self.alphas_cumprod)

    def timesteps(self, steps: int) -> np.ndarray:
        """Return the ``steps`` timesteps of a DDIM run, descending int64 ("leading" spacing)."""
        if not 1 <= steps <= self.train_timesteps:
            raise InputError(f"steps: got {steps}, allowed 1 to {self.train_timesteps}")
        timesteps = np.arange(steps, dtype=np.int64)[::-1] * self._stride(steps) + self.steps_offset
        if timesteps[0] >= self.train_timesteps:
            raise InputError(
                f"steps: got {steps}, but with the schedule's steps_offset of {self.steps_offset} the first "
                f"timestep would be {timesteps[0]}, allowed 0 to {self.train_timesteps - 1}; use fewer steps"
            )
        return timesteps

    def steps(self, steps: int) -> list[DdimStep]:
        """Return the ``steps`` steps of a DDIM run, first step (most noise) first."""
        return [
            DdimStep(
                timestep=int(timestep),
                signal=float(self.alphas_cumprod[timestep]),
                next_signal=self._signal_at(int(timestep) - self._stride(steps)),
                clip=self.clip,
            )
            for timestep in self.timesteps(steps)
        ]

    def _stride(self, steps: int) -> int:
        return self.train_timesteps // steps

    def _signal_at(self, timestep: int) -> float:
        return float(self.alphas_cumprod[timestep]) if timestep >= 0 else self.final_alpha


def schedule_from_config(config: Mapping[str, Any], source: str) -> Schedule:
    """Return the schedule of a diffusers ``scheduler_config.json``.

    Raises
    ------
    InputError
        For a missing key.
    UnsupportedError
        For a prediction type, thresholding or spacing that the integer sampler does not have.
    """
    required = {
        "prediction_type": "epsilon",
        "thresholding": False,
        "timestep_spacing": "leading",
        "rescale_betas_zero_snr": False,
        "trained_betas": None,
    }
    for key, allowed in required.items():
        if config.get(key, allowed) != allowed:
            raise UnsupportedError(f"{source}: {key}: got {config[key]!r}, supported: {allowed!r}")
    missing = {"num_train_timesteps", "beta_start", "beta_end", "beta_schedule"} - config.keys()
    if missing:
        raise InputError(
            f"{source}: {', '.join(sorted(missing))}: missing; save the scheduler with diffusers"
        )
    count = int(config["num_train_timesteps"])
    start, end = float(config["beta_start"]), float(config["beta_end"])
    if config["beta_schedule"] == "linear":
        betas = np.linspace(start, end, count)
    elif config["beta_schedule"] == "scaled_linear":
        betas = np.linspace(start**0.5, end**0.5, count) ** 2
    else:
        raise UnsupportedError(
            f"{source}: beta_schedule: got {config['beta_schedule']!r}, supported: 'linear', 'scaled_linear'"
        )
    alphas = np.cumprod(1.0 - betas)
    final = 1.0 if config.get("set_alpha_to_one", True) else float(alphas[0])
    clip = float(config.get("clip_sample_range", 1.0)) if config.get("clip_sample", True) else None
    return Schedule(alphas, final, int(config.get("steps_offset", 0)), clip)
