"""Train the embedded model ``digits``: ``python -m hqsim.models.train_digits --out DIR``.

A class-conditional ``UNet2DModel`` on the UCI digits, and the classifier that judges its samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DModel
from torch.nn import functional

from hqsim.models.digit_classifier import DigitClassifier
from hqsim.models.digits_data import DigitsSplit, load_digits
from hqsim.models.train_denoiser import NULL_LABEL, Run, TrainingSettings

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


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both networks and write the checkpoint folder."""
    run = Run.from_arguments(TrainingSettings(), __doc__ or "", arguments)
    training, held_out = load_digits()

    classifier, accuracy = train_classifier(training, held_out, run.settings.seed)
    print(f"classifier: {accuracy:.2%} of {len(held_out.labels)} held-out digits", flush=True)
    _save_classifier(run.out, classifier, training, held_out)

    model = run.train(lambda: UNet2DModel(**UNET_CONFIG), training)
    run.save(model, "unet", {"classifier_accuracy": accuracy})


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
