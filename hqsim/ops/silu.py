"""SiLU: ``x * σ(x)``, a gate with ``1 - σ(x) = 1 / (1 + exp(x))``."""

from __future__ import annotations

import numpy as np

from hqsim.ops.gate import Gate


class SiLU(Gate):
    """``x * sigmoid(x)``."""

    name = "silu"

    @staticmethod
    def complement(x):
        """``1 / (1 + exp(x))``."""
        return 1.0 / (1.0 + np.exp(x))

    def evaluate(self, node, inputs, parameters):
        """Torch silu."""
        from torch.nn.functional import silu

        return silu(inputs[0])
