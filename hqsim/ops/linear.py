"""Linear layer: ``y = x Wᵀ + b`` along the last axis."""

from __future__ import annotations

import numpy as np

from hqsim.ops.multiply import Multiply


class Linear(Multiply):
    """``[..., k] -> [..., n]`` with weights ``[n, k]``."""

    name = "linear"

    def shape(self, node, inputs):
        """The last axis becomes ``outputs``."""
        return (*inputs[0][:-1], node.attributes["outputs"])

    def evaluate(self, node, inputs, parameters):
        """Torch linear."""
        from torch.nn.functional import linear

        bias = parameters[node.parameters["bias"]] if "bias" in node.parameters else None
        return linear(inputs[0], parameters[node.parameters["weight"]], bias)

    def accumulate_integer(self, node, arrays, inputs):
        """Kernel ``matmul_accumulate`` with the weights shared by all rows."""
        from hqsim.kernels.gemm import matmul_accumulate

        operand = self.inverse_integer(node, inputs[0])
        weight = np.ascontiguousarray(arrays["weight"].T, np.int16)[None]
        rows = operand.reshape(1, -1, operand.shape[-1])
        sums = np.empty((1, rows.shape[1], weight.shape[2]), self.sums_dtype(arrays))
        matmul_accumulate(rows, weight, sums)
        return sums.reshape(*operand.shape[:-1], weight.shape[2])

    def accumulate_exact(self, node, arrays, inputs):
        """Float64 product of codes, exact below 2**53."""
        operand = self.inverse_exact(node, inputs[0]).astype(np.float64)
        return (operand @ arrays["weight"].T.astype(np.float64)).astype(np.int64)

    def matrix_work(self, node, context):
        """Rows x outputs x inputs."""
        k = context.graph[node.inputs[0]].type.shape[-1]
        n = node.type.shape[-1]
        return node.type.elements // n * context.batch, n, k, 1
