"""Adaptive rounding (Nagel et al., "Up or Down?", 2020): whether each weight rounds up or down is learned.

With the scale ``s`` of a weight ``w`` and one variable ``v`` per weight, equations 22 to 24 there:

    h = clip(σ(v) (ζ - γ) + γ, 0, 1)          rectified sigmoid, ζ = 1.1, γ = -0.1
    ŵ = s clip(floor(w / s) + h, -q, q)       while it is learned
    penalty = Σ 1 - |2h - 1|^β                pushes h to 0 or 1

``v`` starts where ``h`` is the fraction of ``w / s``, so that ŵ is the real weight; at the end a weight
rounds up where ``h >= 1/2``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hqsim.graph import Node
from hqsim.ops import WeightCodes
from hqsim.ops.segments import segments_of

ZETA, GAMMA = 1.1, -0.1


class AdaptiveRounding(nn.Module):
    """The rounding of one layer's weight.

    Parameters
    ----------
    node
        The layer, lowered.
    weight
        Its real weight ``[outputs, channels, ...]``.
    nearest
        The same weight rounded to the nearest codes: its scales and its width stay.
    """

    floor: Tensor
    scale: Tensor

    def __init__(self, node: Node, weight: np.ndarray, nearest: WeightCodes) -> None:
        super().__init__()
        self.nearest = nearest
        lengths = [segment.length for segment in segments_of(node, weight.shape[1])]
        scale = np.repeat(nearest.scales, lengths, axis=1)
        scale = scale.reshape(scale.shape + (1,) * (weight.ndim - 2))
        steps = weight / scale
        floor = np.floor(steps)
        start = -np.log((ZETA - GAMMA) / (steps - floor - GAMMA) - 1)
        self.high = (1 << (nearest.bits - 1)) - 1
        self.register_buffer("floor", torch.from_numpy(floor).float(), persistent=False)
        self.register_buffer("scale", torch.from_numpy(scale).float(), persistent=False)
        self.v = nn.Parameter(torch.from_numpy(start).float())

    @property
    def fraction(self) -> Tensor:
        """The share ``h`` of a step that is added to each rounded-down weight."""
        return (torch.sigmoid(self.v) * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)

    def weight(self) -> Tensor:
        """Return the weight while it is learned, ``[outputs, channels, ...]``."""
        return (self.floor + self.fraction).clamp(-self.high, self.high) * self.scale

    def penalty(self, beta: float) -> Tensor:
        """Return by how much the roundings are neither up nor down."""
        return (1 - (2 * self.fraction - 1).abs().pow(beta)).sum()

    def codes(self) -> WeightCodes:
        """Return the weight rounded as learned."""
        rounded = (self.floor + (self.v >= 0)).clamp(-self.high, self.high)
        return WeightCodes.of(rounded.cpu().numpy().astype(np.int8), self.nearest.scales, self.nearest.bits)
