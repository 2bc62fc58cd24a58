"""Train the embedded model ``digits``: ``python -m hqsim.models.train_digits --out DIR``.

A class-conditional ``UNet2DModel`` on the UCI digits, with label drop for guidance and averaged
(EMA) weights, and the classifier that judges its samples. Seeded; on a CPU or a GPU; a run that was
killed resumes from its last state file and ends with the same weights.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from torch.nn import functional

from hqsim.models.digit_classifier import DigitClassifier
from hqsim.models.digits_data import DigitsSplit, load_digits

NULL_LABEL = 10
UNET_CONFIG = {
    "sample_size": 32,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (32, 64, 96),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    "norm_num_groups": 8,
    "attention_head_dim": 32,
    "num_class_embeds": NULL_LABEL + 1,
}
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


def train_classifier(
    training: DigitsSplit, held_out: DigitsSplit, seed: int
) -> tuple[DigitClassifier, float]:
    """Train the classifier on shifted, scaled, noisy digits; return it and its held-out accuracy."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    classifier = DigitClassifier()
    epochs, batch = 40, 64
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=1e-3)
    images, labels = torch.from_numpy(training.images), torch.from_numpy(training.labels)
    steps = epochs * (len(labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=generator)
        for part in order[: len(order) // batch * batch].split(batch):
            view = _augment(images[part], generator)
            loss = functional.cross_entropy(classifier(view), labels[part], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    classifier.eval()
    with torch.no_grad():
        guess = classifier(torch.from_numpy(held_out.images)).argmax(1).numpy()
    return classifier, float((guess == held_out.labels).mean())


def _augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Small random shifts, rotations and scalings, and a little noise."""
    n = len(images)
    draw = torch.rand(n, 5, generator=generator) * 2 - 1
    angle, scale, shift = draw[:, 0] * 0.15, 1 + 0.1 * draw[:, 1], draw[:, 2:4] * (3 / 16)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    moved = functional.grid_sample(images + 1, grid, align_corners=False) - 1
    noise = torch.randn(images.shape, generator=generator)
    return moved + 0.1 * (draw[:, 4, None, None, None] + 1) * noise


def train_unet(
    data: DigitsSplit, settings: TrainingSettings, *, device: str, state_file: Path, curve_file: Path
) -> UNet2DModel:
    """Train the denoiser and return the model with its averaged weights."""
    torch.manual_seed(settings.seed)
    model = UNet2DModel(**UNET_CONFIG).to(device)
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
        noise = torch.randn((settings.batch, 1, 32, 32), generator=generator)
        timesteps = torch.randint(
            scheduler.config.num_train_timesteps, (settings.batch,), generator=generator
        )
        drop = torch.rand(settings.batch, generator=generator) < settings.label_drop
        clean, label = images[pick], torch.where(drop, NULL_LABEL, labels[pick])
        noisy = scheduler.add_noise(clean, noise, timesteps)
        noisy, noise, timesteps, label = (x.to(device) for x in (noisy, noise, timesteps, label))
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=settings.bfloat16):
            predicted = model(noisy, timesteps, class_labels=label).sample
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
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            _save_state(state_file, model, optimizer, ema, generator, step + 1, curve)
            _write_curve(curve_file, curve)
            pace = (time.monotonic() - started) / (step + 1 - first)
            print(f"step {step + 1}/{settings.steps}  loss {curve[-1][1]:.5f}  {pace:.2f} s/step", flush=True)
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


def main(arguments: list[str] | None = None) -> None:
    """Train both networks and write the checkpoint folder."""
    defaults = TrainingSettings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--steps", type=int, default=defaults.steps)
    parser.add_argument("--batch", type=int, default=defaults.batch)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--float32", action="store_true", help="train without bfloat16")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    settings = TrainingSettings(
        steps=options.steps, batch=options.batch, seed=options.seed, bfloat16=not options.float32
    )
    options.out.mkdir(parents=True, exist_ok=True)
    training, held_out = load_digits()

    classifier, accuracy = train_classifier(training, held_out, settings.seed)
    print(f"classifier: {accuracy:.2%} of {len(held_out.labels)} held-out digits", flush=True)
    _save_classifier(options.out, classifier, training, held_out)

    model = train_unet(
        training,
        settings,
        device=options.device,
        state_file=options.out / "training-state.pt",
        curve_file=options.out / "training.csv",
    )
    model.save_pretrained(options.out / "unet")
    DDIMScheduler(**SCHEDULER_CONFIG).save_pretrained(options.out / "scheduler")
    record = {"settings": asdict(settings), "device": options.device, "classifier_accuracy": accuracy}
    (options.out / "training.json").write_text(json.dumps(record, indent=2) + "\n")


def _save_classifier(
    out: Path, classifier: DigitClassifier, training: DigitsSplit, held_out: DigitsSplit
) -> None:
    """Weights, and mean and covariance of the features of both splits (the Fréchet references)."""
    from safetensors.torch import save_file

    tensors = {f"classifier.{name}": value for name, value in classifier.state_dict().items()}
    for name, split in (("training", training), ("held_out", held_out)):
        with torch.no_grad():
            features = classifier.features(torch.from_numpy(split.images)).double().numpy()
        tensors[f"reference.{name}.mean"] = torch.from_numpy(features.mean(0))
        tensors[f"reference.{name}.covariance"] = torch.from_numpy(np.cov(features, rowvar=False))
    save_file(tensors, out / "classifier.safetensors")


if __name__ == "__main__":
    main()
