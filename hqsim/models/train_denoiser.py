"""The training loop of the embedded diffusion models: noise prediction, label drop, averaged (EMA) weights.

Seeded; on a CPU or a GPU; a run that was killed resumes from its last state file and ends with the same
weights.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from diffusers import DDIMScheduler, ModelMixin
from diffusers.training_utils import EMAModel
from torch.nn import functional

from hqsim.models.digits_data import DigitsSplit

NULL_LABEL = 10
SCHEDULER_CONFIG = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 2e-2,
    "prediction_type": "epsilon",
    "clip_sample": True,
    "clip_sample_range": 1.0,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "timestep_spacing": "leading",
}


SAVE_EVERY = 250
"""Updates between two state files: a multiple of the 50 that make a point of the curve."""


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides the trained weights."""

    steps: int = 10_000
    batch: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 300
    weight_decay: float = 1e-2
    label_drop: float = 0.1
    ema_decay: float = 0.999
    gradient_clip: float = 1.0
    bfloat16: bool = True
    seed: int = 0


def train_denoiser(
    make: Callable[[], ModelMixin],
    data: DigitsSplit,
    settings: TrainingSettings,
    *,
    device: str,
    state_file: Path,
    curve_file: Path,
) -> ModelMixin:
    """Train what ``make`` returns and give it back with its averaged weights."""
    torch.manual_seed(settings.seed)
    model = make().to(device)
    scheduler = DDIMScheduler(**SCHEDULER_CONFIG)
    ema = EMAModel(model.parameters(), decay=settings.ema_decay, use_ema_warmup=True, power=0.75)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    generator = torch.Generator().manual_seed(settings.seed)
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    first, curve = 0, []
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        ema.load_state_dict(state["ema"])
        ema.to(device)
        generator.set_state(state["generator"])
        first, curve = state["step"], state["curve"]
    running, started = 0.0, time.monotonic()
    for step in range(first, settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, settings)
        pick = torch.randint(len(labels), (settings.batch,), generator=generator)
        noise = torch.randn((settings.batch, *images.shape[1:]), generator=generator)
        timesteps = torch.randint(
            scheduler.config.num_train_timesteps, (settings.batch,), generator=generator
        )
        drop = torch.rand(settings.batch, generator=generator) < settings.label_drop
        clean, label = images[pick], torch.where(drop, NULL_LABEL, labels[pick])
        noisy = scheduler.add_noise(clean, noise, timesteps)
        noisy, noise, timesteps, label = (x.to(device) for x in (noisy, noise, timesteps, label))
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=settings.bfloat16):
            predicted = model(noisy, timestep=timesteps, class_labels=label).sample
        loss = functional.mse_loss(predicted.float(), noise)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimizer.step()
        ema.step(model.parameters())
        running += loss.item()
        if (step + 1) % 50 == 0:
            curve.append((step + 1, running / 50))
            running = 0.0
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == settings.steps:
            _save_state(state_file, model, optimizer, ema, generator, step + 1, curve)
            _write_curve(curve_file, curve)
            pace = (time.monotonic() - started) / (step + 1 - first)
            print(f"step {step + 1}/{settings.steps}  loss {loss.item():.5f}  {pace:.2f} s/step", flush=True)
    ema.copy_to(model.parameters())
    return model.cpu().eval()


def _schedule(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then a cosine to one percent."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def _save_state(path: Path, model, optimizer, ema, generator, step: int, curve: list) -> None:
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "ema": ema.state_dict(),
        "generator": generator.get_state(),
        "step": step,
        "curve": curve,
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _write_curve(path: Path, curve: list[tuple[int, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss"])
        writer.writerows((step, f"{loss:.6f}") for step, loss in curve)


@dataclass(frozen=True)
class Run:
    """One training run: its settings, its folder, its device."""

    settings: TrainingSettings
    out: Path
    device: str

    @classmethod
    def from_arguments(
        cls, defaults: TrainingSettings, description: str, arguments: Sequence[str] | None
    ) -> Run:
        """Read the command line and make the folder."""
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
        parser.add_argument("--steps", type=int, default=defaults.steps)
        parser.add_argument("--batch", type=int, default=defaults.batch)
        parser.add_argument("--seed", type=int, default=defaults.seed)
        parser.add_argument("--float32", action="store_true", help="train without bfloat16")
        parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
        options = parser.parse_args(arguments)
        options.out.mkdir(parents=True, exist_ok=True)
        settings = replace(
            defaults,
            steps=options.steps,
            batch=options.batch,
            seed=options.seed,
            bfloat16=defaults.bfloat16 and not options.float32,
        )
        return cls(settings, options.out, options.device)

    def train(self, make: Callable[[], ModelMixin], data: DigitsSplit) -> ModelMixin:
        """Train the denoiser, its state and curve beside the checkpoint."""
        return train_denoiser(
            make,
            data,
            self.settings,
            device=self.device,
            state_file=self.out / "training-state.pt",
            curve_file=self.out / "training.csv",
        )

    def save(self, model: ModelMixin, part: str, record: dict[str, object]) -> None:
        """Write the model to its subfolder ``part``, its scheduler, and ``training.json``."""
        model.save_pretrained(self.out / part)
        DDIMScheduler(**SCHEDULER_CONFIG).save_pretrained(self.out / "scheduler")
        content = {"settings": asdict(self.settings), "device": self.device, **record}
        (self.out / "training.json").write_text(json.dumps(content, indent=2) + "\n")
