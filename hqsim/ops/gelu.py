"""GELU: ``x * Φ(x)`` with the normal distribution, ``1 - Φ(x) = erfc(x / sqrt(2)) / 2``."""

from __future__ import annotations

import math

import numpy as np

from hqsim.ops.gate import Gate


class Gelu(Gate):
    """The exact form (Hendrycks and Gimpel, 2016)."""

    name = "gelu"

    @staticmethod
    def complement(x):
        """``erfc(x / sqrt(2)) / 2``."""
        return np.array([math.erfc(value / math.sqrt(2.0)) / 2.0 for value in x])

    def evaluate(self, node, inputs, parameters):
        """Torch gelu."""
        from torch.nn.functional import gelu

        return gelu(inputs[0])
