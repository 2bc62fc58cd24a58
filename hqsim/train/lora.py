"""Low-rank adaptation of a product's weight, merged before the weight is quantized (QALoRA of EfficientDM).

``W' = W + B A`` with ``A [rank, inputs]`` and ``B [outputs, rank]``; a convolution's kernel counts as one
flat row per output. ``B`` starts at zero, so training starts at the calibrated model; ``A`` is uniform in
``±1 / sqrt(inputs)`` (Hu et al., 2022, as commonly initialised).
"""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor, nn


class LowRank(nn.Module):
    """The two factors of one layer; the rank is at most what the layer's shape allows."""

    def __init__(self, shape: tuple[int, ...], rank: int, generator: torch.Generator) -> None:
        super().__init__()
        outputs, inputs = shape[0], math.prod(shape[1:])
        rank = min(rank, outputs, inputs)
        uniform = torch.rand(rank, inputs, generator=generator)
        self.a = nn.Parameter((2 * uniform - 1) * inputs**-0.5)
        self.b = nn.Parameter(torch.zeros(outputs, rank))

    def merged(self, weight: Tensor) -> Tensor:
        """Return ``W + B A`` in the shape of ``weight``."""
        return torch.addmm(weight.reshape(len(weight), -1), self.b, self.a).view(weight.shape)


def generator_of(seed: int, name: str) -> torch.Generator:
    """Return the generator of one layer: it does not depend on which other layers are adapted."""
    return torch.Generator().manual_seed(seed * 2**32 + zlib.crc32(name.encode()))
