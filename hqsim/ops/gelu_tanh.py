"""GELU by the hyperbolic tangent: ``x * (1 + tanh(u)) / 2`` with ``u = sqrt(2/π) (x + 0.044715 x³)``."""

from __future__ import annotations

import math

import numpy as np

from hqsim.ops.gate import Gate


class GeluTanh(Gate):
    """The approximate form; ``(1 + tanh(u)) / 2 = σ(2u)``."""

    name = "gelu_tanh"

    @staticmethod
    def complement(x):
        """``1 - σ(2u) = exp(-2u) / (1 + exp(-2u))``, which does not overflow."""
        small = np.exp(-2.0 * math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))
        return small / (1.0 + small)

    def evaluate(self, node, inputs, parameters):
        """Torch gelu with ``approximate="tanh"``."""
        from torch.nn.functional import gelu

        return gelu(inputs[0], approximate="tanh")
