"""Quantize and dequantize with gradients: the straight-through estimator and LSQ's gradient of the scale.

In the orthonormal domain ``u = x D Ĥ / sqrt(n)`` (``u = x`` without a transform):

    v = u / s,   q - z = clamp(floor(v + 1/2), low - z, high - z),   x̂ = s (q - z) Ĥ D / sqrt(n)

With the gradient ``g`` of x̂ and ``g' = g D Ĥ / sqrt(n)`` (the transform is orthogonal), where a code is
*inside* when the clamp left it alone:

    dx = (g' [inside]) Ĥ D / sqrt(n)                    straight through the rounding
    ds = Σ g' ((q - z) - v [inside])                    LSQ (Esser et al., 2020), in the transformed domain
    dz = -s Σ g' [outside]                              LSQ+ (Bhalgat et al., 2020)

``ds`` and ``dz`` are multiplied by ``1 / sqrt(N Q)``, with N the values that share the scale (per sample) and
Q the largest code. ``s`` is the scale of the integers over ``sqrt(n)``, so that it and its learning rate mean
the same with a transform and without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hqsim.graph import Node
from hqsim.numerics import sylvester
from hqsim.ops.quantize import signs_of, transform_of


@dataclass(frozen=True)
class Rotation:
    """The orthonormal block transform of one tensor: ``matrix = D Ĥ / sqrt(n)``, blocks along ``axis``."""

    matrix: Tensor
    axis: int

    @classmethod
    def of(cls, node: Node, axis: int, *, dtype: torch.dtype, device: torch.device) -> Rotation | None:
        """Return the transform that a node's attributes describe, along ``axis`` of its tensor."""
        transform = transform_of(node)
        if transform is None:
            return None
        matrix = torch.from_numpy(signs_of(transform)[:, None] * sylvester(transform.order))
        return cls((matrix.to(dtype) * transform.size**-0.5).to(device), axis)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x D Ĥ / sqrt(n)`` block by block."""
        return self._apply(x, self.matrix)

    def inverse(self, u: Tensor) -> Tensor:
        """Return ``u Ĥ D / sqrt(n)`` block by block."""
        return self._apply(u, self.matrix.T)

    def _apply(self, x: Tensor, matrix: Tensor) -> Tensor:
        n = len(matrix)
        if self.axis in (-1, x.ndim - 1):
            return (x.reshape(-1, n) @ matrix).view(x.shape)
        blocks = x.reshape(-1, n, x.shape[self.axis + 1 :].numel())
        return torch.bmm(matrix.T.expand(len(blocks), n, n), blocks).view(x.shape)


class _FakeQuantize(torch.autograd.Function):
    """The equations of the module; scale and zero-point have shapes that broadcast with the input.

    ``limits`` are those of ``q - z``; a code is inside when the nearest integer to ``v`` is within them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        zero_point: Tensor | None,
        limits: tuple[float, float],
        gradient_scale: float,
        rotation: Rotation | None,
    ) -> Tensor:
        steps = (rotation.forward(x) if rotation else x) / scale
        centred = (steps + 0.5).floor_().clamp_(*limits)
        ctx.save_for_backward(steps, centred, scale)
        ctx.limits, ctx.gradient_scale, ctx.rotation = limits, gradient_scale, rotation
        real = centred * scale
        return rotation.inverse(real) if rotation else real

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        steps, centred, scale = ctx.saved_tensors
        rotation: Rotation | None = ctx.rotation
        low, high = math.ceil(ctx.limits[0]) - 0.5, math.floor(ctx.limits[1]) + 0.5
        g = (rotation.forward(gradients[0]) if rotation else gradients[0]).contiguous()
        passed = torch.ops.aten.hardtanh_backward(g, steps, low, high)
        of_x = of_scale = of_zero_point = None
        if ctx.needs_input_grad[0]:
            of_x = rotation.inverse(passed) if rotation else passed
        if ctx.needs_input_grad[1]:
            of_scale = _sum_to(g, centred, scale.shape) - _sum_to(passed, steps, scale.shape)
            of_scale = of_scale * ctx.gradient_scale
        if ctx.needs_input_grad[2]:
            outside = g.sum_to_size(scale.shape) - passed.sum_to_size(scale.shape)
            of_zero_point = -ctx.gradient_scale * outside * scale
        return of_x, of_scale, of_zero_point, None, None, None


def _sum_to(a: Tensor, b: Tensor, shape: torch.Size) -> Tensor:
    """``Σ a b`` over what ``shape`` broadcasts; a single sum as a dot product."""
    if shape.numel() == 1:
        return torch.dot(a.reshape(-1), b.reshape(-1)).reshape(shape)
    return (a * b).sum_to_size(shape)


def fake_quantize(
    x: Tensor,
    scale: Tensor,
    limits: tuple[float, float],
    *,
    count: int,
    zero_point: Tensor | None = None,
    rotation: Rotation | None = None,
) -> Tensor:
    """Return what the codes keep of ``x``, with the gradients of the module's equations.

    Parameters
    ----------
    x
        Real values.
    scale
        Of a shape that broadcasts with ``x``.
    limits
        Smallest and largest code less the zero-point, which need not be an integer while it is learned.
    count
        Values that share a scale (N of LSQ's gradient scale).
    zero_point
        What the gradient of the limits goes to, of the shape of ``scale``; None when nothing learns it.
    rotation
        The transform around the rounding; None without one.
    """
    largest = limits[1] - limits[0] if zero_point is not None else limits[1]
    gradient_scale = (count * largest) ** -0.5
    result: Tensor = _FakeQuantize.apply(x, scale, zero_point, limits, gradient_scale, rotation)
    return result
