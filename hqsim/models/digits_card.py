"""Judge a trained model of digits and write its card: ``python -m hqsim.models.digits_card DIR``.

Samples with diffusers' own DDIM scheduler, not with hqsim's sampler: so the card is an independent witness.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel, ModelMixin, UNet2DModel
from safetensors.torch import load_file
from torch import Tensor

from hqsim.models.digit_classifier import DigitClassifier
from hqsim.models.digits_data import load_digits
from hqsim.models.train_denoiser import NULL_LABEL

matplotlib.use("Agg")

STEPS, BATCH, SHEET = 20, 100, 10
CLASSIFIER = Path(__file__).parent / "checkpoints" / "digits"
"""The folder whose classifier judges every model of digits."""


@dataclass(frozen=True)
class Network:
    """A kind of denoiser: its class, the words for it in a card, the module that trains it and its effort."""

    name: str
    kind: type[ModelMixin]
    introduction: str
    description: str
    trainer: str
    effort: str


NETWORKS = {
    "unet": Network(
        name="digits",
        kind=UNet2DModel,
        introduction="A class-conditional diffusion model of handwritten digits, 32 x 32, one channel.",
        description="widths 32, 16, 8, channels {block_out_channels}, attention at 8 x 8",
        trainer="train_digits",
        effort="about an hour on two CPU cores",
    ),
    "transformer": Network(
        name="digits-dit",
        kind=DiTTransformer2DModel,
        introduction="A class-conditional diffusion transformer of handwritten digits, 32 x 32, one channel.",
        description="{num_layers} blocks, {num_attention_heads} heads of {attention_head_dim} channels, "
        "patches of {patch_size} x {patch_size} pixels, adaptive layer norm",
        trainer="train_digits_dit",
        effort="about 70 minutes on one CPU core",
    ),
}
"""By the subfolder that diffusers keeps the weights in."""

CARD = """# {name}

{introduction} It is small on purpose: hqsim
ships it so that the main job runs on a real, trained model without a download.

![Samples: one column per class, {steps} DDIM steps, guidance {guidance:g}](samples.png)

| | |
|---|---|
| Network | diffusers `{kind}`, {description}, {parameters:,} parameters |
| Data | UCI handwritten digits (doi:10.24432/C50P49), 1,437 of the 1,797 images, 8 x 8 enlarged to 32 x 32 (bicubic) |
| Objective | noise prediction, 1000 timesteps, linear betas 1e-4 to 2e-2, label dropped in {drop:.0%} of the samples |
| Training | {train_steps:,} updates of {batch} images, AdamW {rate:g} (warm-up, cosine), EMA {ema}, {precision}, seed {seed} |
| Sampling | DDIM (eta 0), {steps} steps, x0 clipped to [-1, 1], classifier-free guidance {guidance:g} (null label 10) |
| Weights | averaged (EMA) weights, float32 safetensors, {size:.1f} MB |
| License | Apache-2.0 for the weights; the data are CC BY 4.0 (Alpaydin and Kaynak) |

## Quality

Measured by `python -m hqsim.models.digits_card`, {samples} samples, labels cycling through the classes, with
the small classifier of `digits`, its `classifier.safetensors` (trained on the same 1,437 images, {classifier:.2%} of the 360
held-out digits right). Distances are Fréchet distances of the classifier's 48 features; they are not an "FID".

| Figure | Value |
|---|---|
| samples classified as their label | {accuracy:.1%} |
| the same without guidance | {accuracy_plain:.1%} |
| Fréchet distance to the training images | {frechet:.2f} |
| Fréchet distance of the held-out images to the training images (what is possible) | {floor:.2f} |
| distance to the nearest training image, median: samples / held-out digits (RMS of pixels in [-1, 1]) | {near:.3f} / {near_held:.3f} |

The last row says whether the model copies: samples that sit much closer to a training image than unseen real
digits do would be copies.

## Training curve

![Mean squared error of the predicted noise](training.png)

`training.csv` holds the numbers. To train again: `pip install -e .[train]`, then
`python -m hqsim.models.{trainer} --out DIR` ({effort}), then
`python -m hqsim.models.digits_card DIR`.
"""  # noqa: E501


@torch.no_grad()
def sample(model: ModelMixin, scheduler: DDIMScheduler, labels: Tensor, guidance: float, seed: int) -> Tensor:
    """Return images ``[n, 1, 32, 32]`` in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    scheduler.set_timesteps(STEPS)
    parts = []
    for label in labels.split(BATCH):
        x = torch.randn((len(label), 1, 32, 32), generator=generator)
        null = torch.full_like(label, NULL_LABEL)
        for timestep in scheduler.timesteps:
            steps = timestep.expand(len(label))
            noise = model(x, timestep=steps, class_labels=label).sample
            if guidance != 1.0:
                plain = model(x, timestep=steps, class_labels=null).sample
                noise = plain + guidance * (noise - plain)
            x = scheduler.step(noise, timestep, x).prev_sample
        parts.append(x.clamp(-1, 1))
    return torch.cat(parts)


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Fréchet distance of two sets of features ``[n, d]``.

    ``tr (Ca Cb)^½`` is the sum of the square roots of the product's eigenvalues.
    """
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    overlap = np.sqrt(np.linalg.eigvals(covariance_a @ covariance_b).real.clip(0)).sum()
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    return float(shift + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap)


def nearest(images: Tensor, references: Tensor) -> float:
    """Return the median RMS distance of ``images`` to their nearest reference."""
    distances = torch.cdist(images.flatten(1), references.flatten(1)).min(1).values
    return float(distances.median() / 32.0)


def main(arguments: list[str] | None = None) -> None:
    """Sample, measure, draw, write README.md, samples.png and training.png beside the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--guidance", type=float, default=1.5)
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    part = next(part for part in NETWORKS if (folder / part).is_dir())
    network = NETWORKS[part]
    model = network.kind.from_pretrained(folder / part, local_files_only=True).eval()
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
    classifier = DigitClassifier().eval()
    judge = folder if (folder / "classifier.safetensors").is_file() else CLASSIFIER
    tensors = load_file(judge / "classifier.safetensors")
    prefix = "classifier."
    classifier.load_state_dict(
        {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    )
    settings = json.loads((folder / "training.json").read_text())["settings"]
    accuracy = json.loads((judge / "training.json").read_text())["classifier_accuracy"]
    training, held_out = load_digits()
    real, unseen = torch.from_numpy(training.images), torch.from_numpy(held_out.images)
    labels = torch.arange(options.samples) % 10
    images = sample(model, scheduler, labels, options.guidance, seed=1)
    plain = sample(model, scheduler, labels, 1.0, seed=1)
    with torch.no_grad():
        features = [classifier.features(batch).double().numpy() for batch in (images, real, unseen)]
        right = [float((classifier(batch).argmax(1) == labels).float().mean()) for batch in (images, plain)]
    config = {name: _text(value) for name, value in model.config.items()}
    card = CARD.format(
        steps=STEPS,
        guidance=options.guidance,
        name=network.name,
        kind=network.kind.__name__,
        introduction=network.introduction,
        description=network.description.format(**config),
        trainer=network.trainer,
        effort=network.effort,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        drop=settings["label_drop"],
        train_steps=settings["steps"],
        batch=settings["batch"],
        rate=settings["learning_rate"],
        ema=settings["ema_decay"],
        precision="bfloat16 autocast" if settings["bfloat16"] else "float32",
        seed=settings["seed"],
        size=(folder / part / "diffusion_pytorch_model.safetensors").stat().st_size / 1e6,
        samples=options.samples,
        classifier=accuracy,
        accuracy=right[0],
        accuracy_plain=right[1],
        frechet=frechet(features[0], features[1]),
        floor=frechet(features[2], features[1]),
        near=nearest(images, real),
        near_held=nearest(unseen, real),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    _draw_sheet(folder / "samples.png", images)
    _draw_curve(folder / "training.png", folder / "training.csv")
    print(card)


def _text(value: object) -> str:
    """A configuration's value as the card writes it."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _draw_sheet(path: Path, images: Tensor) -> None:
    """Ten rows of the ten classes, three screen pixels a pixel."""
    from matplotlib.image import imsave

    tiles = ((images[: SHEET * 10, 0] + 1) * 127.5).round().byte().numpy().reshape(SHEET, 10, 32, 32)
    padded = np.pad(tiles, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=64)
    sheet = padded.transpose(0, 2, 1, 3).reshape(SHEET * 34, 340)
    imsave(path, np.kron(sheet, np.ones((2, 2), np.uint8)), cmap="gray", vmin=0, vmax=255)


def _draw_curve(path: Path, source: Path) -> None:
    from matplotlib import pyplot

    with source.open(newline="") as file:
        rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    steps, losses = np.array(rows).T
    figure, axes = pyplot.subplots(figsize=(7, 3), dpi=110)
    axes.semilogy(steps, losses, color="0.75", linewidth=0.8, label="mean of 50 updates")
    window = min(20, len(losses))
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    axes.semilogy(steps[window - 1 :], smooth, color="tab:blue", label="mean of 1000 updates")
    axes.set(xlabel="update", ylabel="loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    main()
