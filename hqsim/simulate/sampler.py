"""The sampler: from noise codes to image codes with any executor, guidance included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hqsim.errors import InputError
from hqsim.graph.walk import result_of
from hqsim.io import new_folder, write_manifest, write_tensors
from hqsim.ops.ddim import noise_codes
from hqsim.quantize import QuantizedModel
from hqsim.simulate.executors import CodeExecutor, StepContext, TorchExecutor, make_executor

Progress = Callable[[str, int, int], None]
CHUNK = 16


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """What decides a run: labels (one per image), steps, guidance weight, seed, number of the first image."""

    labels: tuple[int, ...]
    steps: int
    guidance: float
    seed: int
    first: int = 0

    def chunks(self) -> list[SamplingSettings]:
        """Return the same run in parts of at most 16 images (their noise does not depend on the parts)."""
        starts = range(0, len(self.labels), CHUNK)
        return [replace(self, labels=self.labels[start : start + CHUNK], first=start) for start in starts]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Images of one run.

    ``codes`` uint8 ``[n, c, h, w]``; ``latents`` float64 of the same shape, real values of the final sample;
    ``saturated`` counts clamped codes by node (integer executors).
    """

    executor: str
    codes: np.ndarray
    latents: np.ndarray
    settings: SamplingSettings
    saturated: dict[str, int]

    @property
    def labels(self) -> np.ndarray:
        """Labels int64 ``[n]``."""
        return np.array(self.settings.labels, np.int64)

    def save(self, folder: str | Path) -> Path:
        """Write ``samples.safetensors``, a PNG per image and a manifest into a new folder."""
        from matplotlib.image import imsave

        no_version: dict[str, Any] = {"Software": None}
        with new_folder(Path(folder)) as temporary:
            tensors = {"codes": self.codes, "latents": self.latents, "labels": self.labels}
            write_tensors(temporary / "samples.safetensors", tensors, {"executor": self.executor})
            for index, (image, label) in enumerate(zip(self.codes, self.settings.labels, strict=True)):
                imsave(temporary / f"{index:04d}-label-{label}.png", picture(image), metadata=no_version)
            settings = {"executor": self.executor, **asdict(self.settings)}
            write_manifest(temporary, kind="samples", format_version=1, settings=settings, inputs={})
        return Path(folder)


def picture(image: np.ndarray) -> np.ndarray:
    """Return ``[c, h, w]`` codes as a picture ``[h, w, 3]``; channels that are no colours, side by side."""
    if len(image) == 3:
        return image.transpose(1, 2, 0)
    return np.repeat(np.concatenate(list(image), axis=1)[:, :, None], 3, axis=2)


def resolve_settings(
    qmodel: QuantizedModel,
    *,
    labels: Sequence[int] | None,
    images: int | None,
    steps: int,
    guidance: float | None,
    seed: int,
) -> SamplingSettings:
    """Check and complete the settings of a run (labels cycle through the classes by default).

    Raises
    ------
    InputError
        For labels, steps or guidance that the model does not have.
    """
    classes = qmodel.model.classes
    if labels is None:
        labels = [index % max(classes, 1) for index in range(10 if images is None else images)]
    elif images is not None and images != len(labels):
        raise InputError(
            f"images: got {images} with {len(labels)} labels; give one of them, or as many of both"
        )
    if not labels:
        raise InputError("images: got 0, allowed 1 and more")
    for label in labels:
        if not 0 <= label < max(classes, 1):
            raise InputError(f"labels: got {label}, allowed 0 to {max(classes, 1) - 1}")
    if seed < 0:
        raise InputError(f"seed: got {seed}, allowed 0 and more")
    qmodel.model.schedule.timesteps(steps)
    guidance = qmodel.model.guidance if guidance is None else guidance
    if guidance != 1.0 and qmodel.model.null_label is None:
        raise InputError(f"guidance: got {guidance}, but model '{qmodel.model.name}' has no classes; use 1.0")
    return SamplingSettings(
        labels=tuple(int(label) for label in labels), steps=steps, guidance=float(guidance), seed=seed
    )


def step_contexts(qmodel: QuantizedModel, settings: SamplingSettings) -> Iterator[StepContext]:
    """Yield the contexts of a run, first step first."""
    doubled = settings.guidance != 1.0
    labels = np.array(settings.labels, np.int64) if qmodel.model.classes else None
    if doubled and labels is not None:
        labels = np.concatenate([np.full_like(labels, qmodel.model.null_label), labels])
    for timestep in qmodel.model.schedule.timesteps(settings.steps):
        yield StepContext(int(timestep), qmodel.entry_of(int(timestep)), labels, doubled)


def initial_noise(qmodel: QuantizedModel, settings: SamplingSettings) -> np.ndarray:
    """Return the noise codes of a run, int32."""
    return noise_codes(
        seed=settings.seed,
        images=len(settings.labels),
        shape=qmodel.model.sample_shape,
        sample=qmodel.formats["sample"],
        first=settings.first,
    )


def start_run(
    qmodel: QuantizedModel, executor: CodeExecutor | TorchExecutor, settings: SamplingSettings
) -> Any:
    """Prepare ``executor`` for a run and return its sample: the noise."""
    steps = qmodel.model.schedule.steps(settings.steps)
    return executor.start(initial_noise(qmodel, settings), steps, settings.guidance)


def finish_step(
    executor: CodeExecutor | TorchExecutor, x: Any, noise: Any, settings: SamplingSettings, index: int
) -> Any:
    """Guidance and the DDIM step after the model has predicted ``noise``."""
    return executor.advance(x, executor.guide(noise) if settings.guidance != 1.0 else noise, index)


def sample(
    qmodel: QuantizedModel,
    executor: CodeExecutor | TorchExecutor,
    settings: SamplingSettings,
) -> Any:
    """Run the sampler and return the executor's final sample."""
    x = start_run(qmodel, executor, settings)
    for step, context in enumerate(step_contexts(qmodel, settings)):
        x = finish_step(executor, x, result_of(executor.predict(x, context)), settings, step)
    return x


def simulate(
    qmodel: QuantizedModel,
    *,
    labels: Sequence[int] | None = None,
    images: int | None = None,
    executor: str = "integer",
    steps: int = 20,
    guidance: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Samples:
    """Sample images.

    Parameters
    ----------
    qmodel
        The quantized model.
    labels
        One class per image; by default ``images`` labels (10) that cycle through the classes.
    executor
        ``integer``, ``exact``, ``fakequant`` or ``float``.
    steps, guidance, seed
        DDIM steps, guidance weight (the model's default when None), seed of the noise.

    Raises
    ------
    InputError
        For an unknown executor or settings that the model does not have.
    """
    settings = resolve_settings(
        qmodel, labels=labels, images=images, steps=steps, guidance=guidance, seed=seed
    )
    runner = make_executor(qmodel, executor)
    report = progress or (lambda *_: None)
    codes, latents = [], []
    for part in settings.chunks():
        report("simulate", part.first, len(settings.labels))
        x = sample(qmodel, runner, part)
        codes.append(runner.image(x))
        latents.append(runner.latent(x))
    report("simulate", len(settings.labels), len(settings.labels))
    return Samples(
        executor=executor,
        codes=np.concatenate(codes),
        latents=np.concatenate(latents),
        settings=settings,
        saturated=dict(runner.saturated) if isinstance(runner, CodeExecutor) else {},
    )
