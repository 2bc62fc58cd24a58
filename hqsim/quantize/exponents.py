"""Power-of-two factors: which channels of an operand have steps twice, four or eight times the finest one.

One scale for all channels of a tensor leaves quiet channels few of the codes. With exponents the step of
channel ``c`` is ``ŝ 2**e_c``, and what the multiplier sees ``q 2**e_c``: a shift (Lin et al., "FQ-ViT:
Post-Training Quantization for Fully Quantized Vision Transformer", IJCAI 2022, has it for layer norms).
Under a transform the channels are those of the transformed domain.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hqsim.numerics import Format

BINS = 1024
REACH = 16.0
"""Largest magnitude that is told apart, in root mean squares of the whole tensor."""
SCALES_PER_OCTAVE, OCTAVES = 8, 6


class ChannelMagnitudes:
    """A histogram of magnitudes per channel, in root mean squares of the tensor at its timestep."""

    def __init__(self, channels: int) -> None:
        self.counts = np.zeros((channels, BINS))

    def add(self, values: Tensor) -> None:
        """Count ``values [channels, any]`` of one timestep; every timestep weighs what its values are."""
        power = float(values.square().mean())
        if power == 0.0:
            return
        bins = (values.abs() * (BINS / REACH * power**-0.5)).long().clamp_(max=BINS - 1)
        bins += BINS * torch.arange(len(bins))[:, None]
        self.counts += torch.bincount(bins.flatten(), minlength=self.counts.size).view(-1, BINS).numpy()

    def exponents(self, width: Format) -> tuple[int, ...]:
        """Return the exponent of every channel: least squared error over the scale that all share.

        Empty where one step for all is best.

        Parameters
        ----------
        width
            Width of the codes; its ``spread`` is the largest exponent.
        """
        magnitudes = (np.arange(BINS) + 0.5) * (REACH / BINS)
        octaves = np.arange(-SCALES_PER_OCTAVE * OCTAVES, 1) / SCALES_PER_OCTAVE
        steps = REACH / (width.even.high + 0.5) * 2.0**octaves
        kept = np.minimum(np.floor(magnitudes / steps[:, None] + 0.5), width.even.high) * steps[:, None]
        error = np.square(kept - magnitudes) @ self.counts.T
        finest = len(steps) - SCALES_PER_OCTAVE * width.spread
        choices = np.stack(
            [error[SCALES_PER_OCTAVE * e : SCALES_PER_OCTAVE * e + finest] for e in range(width.spread + 1)]
        )
        best = int(choices.min(axis=0).sum(axis=1).argmin())
        found = choices[:, best].argmin(axis=0)
        found -= found.min()
        return tuple(found.tolist()) if found.any() else ()
