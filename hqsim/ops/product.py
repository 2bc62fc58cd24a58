"""Element-wise product, one rescale: ``clamp(rhu(q1 q2 M, s))``, ``M * 2**-s = s1 s2 / s_out``.

The second operand may be repeated: ``[c, 1, 1]`` over pixels, ``[1, c]`` over tokens.
"""

from __future__ import annotations

import numpy as np

from hqsim.numerics import shift_round_half_up
from hqsim.ops.base import Operator, exact_clamp, scalar
from hqsim.ops.layout import as_they_lie, paired_runs, paired_views
from hqsim.ops.rescale import rescale_arrays


class Product(Operator):
    """Gating (GEGLU, adaptive norms): ``[...] * [...]``, the first input has the shape of the result."""

    name = "product"

    def evaluate(self, node, inputs, parameters):
        """Torch product."""
        return inputs[0] * inputs[1]

    def prepare(self, node, preparation):
        """``s_1 * s_2 / s_out``."""
        a, b = preparation.inputs(node)
        return rescale_arrays(np.array([a.scale * b.scale / preparation.output(node).scale]), node.name)

    def integer(self, node, arrays, inputs, output):
        """Kernel ``multiply_rescaled``, or ``multiply_broadcast`` where the second one is repeated."""
        from hqsim.kernels.broadcast import multiply_broadcast
        from hqsim.kernels.rescale import multiply_rescaled

        a, b = inputs
        factor = scalar(arrays["multiplier"]), scalar(arrays["shift"])
        limits = np.int64(output.low), np.int64(output.high)
        if a.shape != b.shape:
            first, second, codes, flat = paired_views(a, b, output.dtype)
            return codes, int(multiply_broadcast(first, second, *factor, *limits, flat))
        a, b, order = as_they_lie(a, b)
        codes = np.empty(a.shape, output.dtype)
        saturated = multiply_rescaled(*paired_runs(a, b), *factor, *limits, codes.reshape(-1))
        return codes.transpose(order), int(saturated)

    def exact(self, node, arrays, inputs, output):
        """Plain int64 with numpy broadcasting."""
        product = inputs[0].astype(np.int64) * inputs[1].astype(np.int64)
        return exact_clamp(shift_round_half_up(product * arrays["multiplier"], arrays["shift"]), output)

    def record(self, node, context):
        """One product and one rescale per element."""
        elements = context.uses[node.name].elements
        return self.vector_record(node, context, vector={"multiply": elements, "rescale": elements})
