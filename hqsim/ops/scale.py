"""Multiplication by a positive number: the codes stay, ``s_out = factor * s_in``. No rounding, no work."""

from __future__ import annotations

from dataclasses import replace

from hqsim.ops.base import Operator


class Scale(Operator):
    """``factor * x`` (the output factors of residual blocks and attention)."""

    name = "scale"
    is_view = True

    def evaluate(self, node, inputs, parameters):
        """Torch product."""
        return inputs[0] * node.attributes["factor"]

    def output_format(self, node, inputs, carrier):
        """The input's format with its scale times the factor."""
        return replace(
            inputs[0], scales=tuple(scale * node.attributes["factor"] for scale in inputs[0].scales)
        )

    def integer(self, node, arrays, inputs, output):
        """The same codes."""
        return inputs[0], 0

    exact = integer
