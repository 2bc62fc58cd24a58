"""Product of two activations (attention): ``y = factor * a @ b`` or ``factor * a @ bᵀ`` per head."""

from __future__ import annotations

import numpy as np

from hqsim.numerics import AccumulatorBound, signed_bits
from hqsim.ops.multiply import Multiply


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
        """``s_a * s_b * factor`` per timestep, one channel."""
        a, b = (np.array(source.scales) for source in preparation.inputs(node))
        return (a * b * node.attributes["factor"])[:, None]

    def bound(self, node, arrays, inputs):
        """``k * max|a| * max|b|``: both operands are free."""
        a, b = inputs
        reach = [max(abs(source.low), source.high) for source in (a, b)]
        magnitude = int(node.attributes["reduction"]) * reach[0] * reach[1]
        return AccumulatorBound(magnitude, signed_bits(-magnitude, magnitude))

    def accumulate_integer(self, node, arrays, inputs):
        """Kernel ``matmul_accumulate``, one product per sample and head."""
        from hqsim.kernels.gemm import matmul_accumulate

        a, b = (np.asarray(codes, np.int16) for codes in inputs)
        if node.attributes["transpose_b"]:
            b = b.swapaxes(-1, -2)
        sums = np.empty((*a.shape[:-1], b.shape[-1]), self.sums_dtype(arrays))
        matmul_accumulate(
            np.ascontiguousarray(a).reshape(-1, *a.shape[-2:]),
            np.ascontiguousarray(b).reshape(-1, *b.shape[-2:]),
            sums.reshape(-1, *sums.shape[-2:]),
        )
        return sums

    def accumulate_exact(self, node, arrays, inputs):
        """Float64 product of codes, exact below 2**53."""
        a, b = (codes.astype(np.float64) for codes in inputs)
        subscripts = "...mk,...nk->...mn" if node.attributes["transpose_b"] else "...mk,...kn->...mn"
        return np.einsum(subscripts, a, b, optimize=True).astype(np.int64)

    def _channel_view(self, array):
        return array.reshape(array.shape[0], 1, -1)

    def matrix_work(self, node, context):
        """One product per head and sample."""
        heads, m, n = node.type.shape
        return m, n, int(node.attributes["reduction"]), heads * context.batch
