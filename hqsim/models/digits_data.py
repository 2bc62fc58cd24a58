"""The UCI handwritten digits, enlarged to 32 x 32 (training time only: needs scikit-learn).

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits",
UCI Machine Learning Repository, doi:10.24432/C50P49; 1,797 images of 8 x 8 pixels with 17 grey
levels, as shipped with scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

IMAGE_SIZE = 32
HELD_OUT = 360
_SPLIT_SEED = 20


@dataclass(frozen=True)
class DigitsSplit:
    """Images float32 ``[n, 1, 32, 32]`` in [-1, 1] and labels int64 ``[n]``."""

    images: np.ndarray
    labels: np.ndarray


def load_digits() -> tuple[DigitsSplit, DigitsSplit]:
    """Return the training split (1,437 images) and the held-out split (360 images).

    The 8 x 8 images are enlarged by bicubic interpolation and clipped to the range of the source.
    The split is a fixed permutation, so that every run sees the same held-out images.
    """
    import torch
    from sklearn.datasets import load_digits as load_source

    source = load_source()
    small = torch.from_numpy(source.images.astype(np.float32) / 16.0)[:, None]
    large = torch.nn.functional.interpolate(
        small, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", align_corners=False
    )
    images = (large.clamp(0.0, 1.0) * 2.0 - 1.0).numpy()
    labels = source.target.astype(np.int64)
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    held_out, training = order[:HELD_OUT], order[HELD_OUT:]
    return (
        DigitsSplit(images[training], labels[training]),
        DigitsSplit(images[held_out], labels[held_out]),
    )
