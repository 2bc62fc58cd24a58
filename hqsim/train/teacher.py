"""The float teacher walks sampling trajectories from noise; the student sees the same noisy samples.

Data-free: random labels, noise from the seed, DDIM steps of the teacher's own guided noise (EfficientDM, He
et al., 2024; HQ-DM). One step of a trajectory is one update of the student.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hqsim.models import Model
from hqsim.numerics import Format
from hqsim.ops.ddim import DdimStep, guide_real, noise_codes, step_real
from hqsim.quantize.calibrate import model_inputs
from hqsim.quantize.lower import SAMPLE_BITS, SAMPLE_SCALE
from hqsim.train.predictions import Predictions

Network = Callable[[Mapping[str, Tensor], int], Tensor]
"""Inputs and table entry to predicted noise."""
TRAINING_STREAM = 2
EVALUATION_STREAM = 3
_SAMPLE = Format(bits=SAMPLE_BITS, scales=(SAMPLE_SCALE,))


@dataclass(frozen=True)
class Lesson:
    """One noisy batch: the model's inputs, the table entry, what the teacher predicts (guided)."""

    inputs: Mapping[str, Tensor]
    entry: int
    timestep: int
    noise: Tensor


def guided(network: Network, inputs: Mapping[str, Tensor], entry: int, guidance: float) -> Tensor:
    """Return the predicted noise with guidance applied (both halves are in ``inputs``)."""
    noise = network(inputs, entry)
    if guidance == 1.0:
        return noise
    unconditional, conditional = noise.chunk(2)
    return guide_real(unconditional, conditional, guidance)


class Trajectories:
    """The teacher's lessons in order; ``x`` is all the state between two of them.

    Noise and labels of trajectory ``i`` follow from the seed and ``i`` alone, so a run may start at any step
    whose ``x`` is known. With a folder ``kept`` it does not ask the teacher again for a trajectory that any
    training of the same settings has left there.
    """

    def __init__(
        self,
        model: Model,
        teacher: Network,
        *,
        steps: int,
        batch: int,
        guidance: float,
        seed: int,
        device: torch.device,
        stream: int = TRAINING_STREAM,
        kept: Path | None = None,
    ) -> None:
        self.model = model
        self.teacher = teacher
        self.steps = model.schedule.steps(steps)
        self.batch = batch
        self.guidance = guidance
        self.seed = seed
        self.device = device
        self.stream = stream
        self.x = torch.empty(0)
        self.kept = Predictions(kept, self._settings(), len(self.steps)) if kept else None
        self.known: tuple[Tensor, ...] = ()

    @torch.no_grad()
    def lesson(self, number: int) -> Lesson:
        """Return lesson ``number`` and go one step on; the first of a trajectory starts from new noise."""
        trajectory, entry = divmod(number, len(self.steps))
        if entry == 0:
            self.x = self._noise(trajectory)
            self.known = self.kept.read(trajectory) if self.kept else ()
        step = self.steps[entry]
        labels = self._labels(trajectory)
        inputs = model_inputs(self.model, self.x, step.timestep, self.guidance, labels)
        if self.known:
            noise = self.known[entry].to(self.device)
        else:
            noise = guided(self.teacher, inputs, entry, self.guidance)
            if self.kept:
                self.kept.note(trajectory, entry, noise)
        self.x = step_real(self.x, noise, step)
        return Lesson(inputs, entry, step.timestep, noise)

    def _settings(self) -> dict[str, object]:
        """What the lessons follow from."""
        return {
            "model": self.model.digest,
            "steps": [asdict(step) for step in self.steps],
            "batch": self.batch,
            "guidance": self.guidance,
            "seed": self.seed,
            "stream": self.stream,
            "device": self.device.type,
        }

    def _noise(self, trajectory: int) -> Tensor:
        codes = noise_codes(
            seed=self.seed,
            images=self.batch,
            shape=self.model.sample_shape,
            sample=_SAMPLE,
            stream=self.stream,
            first=trajectory * self.batch,
        )
        return torch.from_numpy(codes * SAMPLE_SCALE).float().to(self.device)

    def _labels(self, trajectory: int) -> Tensor:
        classes = max(self.model.classes, 1)
        labels = np.random.default_rng([self.seed, self.stream, trajectory, 1]).integers(
            classes, size=self.batch
        )
        return torch.from_numpy(labels).to(self.device)


def step_weights(steps: Sequence[DdimStep], loss: str) -> list[float]:
    """Return what the squared error of the noise counts at every step of a trajectory, 1 in the mean.

    For the loss of the next ``sample`` it is the square of the noise's factor in it, clipping aside.
    """
    if loss == "noise":
        return [1.0] * len(steps)
    squares = np.array([step.direct[1] ** 2 for step in steps])
    return [float(weight) for weight in squares / squares.mean()]


@torch.no_grad()
def distance_db(lessons: Trajectories, student: Network) -> float:
    """Return the SQNR of the student's guided noise over one trajectory of the teacher."""
    signal = error = 0.0
    for number in range(len(lessons.steps)):
        lesson = lessons.lesson(number)
        noise = guided(student, lesson.inputs, lesson.entry, lessons.guidance)
        signal += float(lesson.noise.double().square().sum())
        error += float((lesson.noise - noise).double().square().sum())
    return float(10 * np.log10(signal / error)) if error else float("inf")
