"""Product of two activations (attention): ``y = factor * a @ b`` or ``factor * a @ bᵀ`` per head."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hqsim.numerics import AccumulatorBound, signed_bits
from hqsim.ops.fused import Rescale, multiply_pair, pair_sums
from hqsim.ops.multiply import Multiply
from hqsim.ops.realisation import multiplier_range


@lru_cache(maxsize=1024)
def _repeated(columns: int, multiplier: int, bias: int, bias_bits: int, shift: int) -> Rescale:
    """Return the same rescale for every column."""
    factor = np.full(columns, multiplier, np.int32)
    return Rescale(factor, np.full(columns, bias), bias_bits, np.full(columns, shift))


class Matmul(Multiply):
    """``[heads, m, k] x [heads, k, n] -> [heads, m, n]``; ``transpose_b`` reads b as ``[heads, n, k]``.

    The constant ``factor`` (1/sqrt(d) of attention) is part of the rescale and costs nothing.
    """

    name = "matmul"

    def shape(self, node, inputs):
        """Rows of a, columns of b."""
        a, b = inputs
        return (*a[:-1], b[-2] if node.attributes["transpose_b"] else b[-1])

    def evaluate(self, node, inputs, parameters):
        """Torch matmul."""
        a, b = inputs
        return (a @ (b.transpose(-1, -2) if node.attributes["transpose_b"] else b)) * node.attributes[
            "factor"
        ]

    def product_scale(self, node, preparation):
        """``s_a * s_b * factor`` per timestep, one segment, one channel."""
        a, b = (np.array(source.scales) for source in preparation.inputs(node))
        return (a * b * node.attributes["factor"])[:, None, None]

    def bounds(self, node, arrays, inputs):
        """``k * max|a| * max|b|``: both operands are free."""
        reach = [max(-low, high) for low, high in (multiplier_range(node, source) for source in inputs)]
        magnitude = int(node.attributes["reduction"]) * reach[0] * reach[1]
        return [AccumulatorBound(magnitude, signed_bits(-magnitude, magnitude))]

    def pack_layer(self, node, arrays):
        """Nothing: both operands are activations."""
        return None

    def fused(self, node, arrays, inputs, output):
        """Kernel ``multiply_codes``, one product per sample and head."""
        a, b = self._rows(node, inputs)
        columns = b.shape[1]
        numbers = (arrays[name].item() for name in ("multiplier", "bias", "bias_bits", "shift"))
        rescale = _repeated(columns, *numbers)
        found = multiply_pair(a, b, arrays["operand_range"], arrays["zero_points"], rescale, output)
        return found.reshaped(found.codes.reshape(*inputs[0].shape[:-1], columns))

    def accumulate_integer(self, node, arrays, inputs):
        """Kernel ``multiply_sums``, one product per sample and head."""
        a, b = self._rows(node, inputs)
        return pair_sums(a, b, arrays["operand_range"]).reshape(*inputs[0].shape[:-1], b.shape[1])

    @staticmethod
    def _rows(node, inputs):
        """Rows of a and columns of b, ``[count, m, k]`` and ``[count, n, k]``."""
        a, b = inputs
        b = b if node.attributes["transpose_b"] else b.swapaxes(-1, -2)
        return a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])

    def accumulate_exact(self, node, arrays, inputs):
        """Float64 product of codes, exact below 2**53."""
        a, b = (codes.astype(np.float64) for codes in inputs)
        subscripts = "...mk,...nk->...mn" if node.attributes["transpose_b"] else "...mk,...kn->...mn"
        return np.einsum(subscripts, a, b, optimize=True).astype(np.int64)

    def unroll(self, node, arrays, inputs):
        """One product per sample and head; terms along the common axis."""
        a, b = inputs
        if node.attributes["transpose_b"]:
            b = b.swapaxes(-1, -2)
        return a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])

    def roll(self, node, sums, inputs):
        """Samples and heads apart again."""
        return sums.reshape(*inputs[0].shape[:-1], -1)

    def _pieces(self, node, operands):
        yield [0, 1], operands

    def _channel_view(self, array):
        return array.reshape(array.shape[0], 1, -1)

    def matrix_work(self, node, context):
        """One product per head and sample."""
        heads, m, n = node.type.shape
        return m, n, int(node.attributes["reduction"]), heads * context.batch
