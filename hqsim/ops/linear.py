"""Linear layer: ``y = x Wᵀ + b`` along the last axis (several inputs are the sides of a concatenation)."""

from __future__ import annotations

import numpy as np

from hqsim.ops.fused import layer_sums, pack_segment
from hqsim.ops.layer_layout import Window
from hqsim.ops.multiply import Multiply


class Linear(Multiply):
    """``[..., k] -> [..., n]`` with weights ``[n, k]``."""

    name = "linear"

    def shape(self, node, inputs):
        """The last axis becomes ``outputs``."""
        return (*inputs[0][:-1], node.attributes["outputs"])

    def evaluate(self, node, inputs, parameters):
        """Torch linear."""
        import torch
        from torch.nn.functional import linear

        x = torch.cat(list(inputs), -1) if len(inputs) > 1 else inputs[0]
        bias = parameters[node.parameters["bias"]] if "bias" in node.parameters else None
        return linear(x, parameters[node.parameters["weight"]], bias)

    def window(self, node, array):
        """A 1 x 1 convolution of an image of one column."""
        return Window((1, 1), 1, (0, 0), (array.size // array.shape[-1], 1))

    def images(self, node, operand):
        """All rows as one column of pixels."""
        return operand.reshape(1, -1, 1, operand.shape[-1])

    def shaped(self, node, images, operand):
        """Rows in their shape."""
        return images.reshape(*operand.shape[:-1], -1)

    def pack_weight(self, node, weight):
        """Panels of a 1 x 1 convolution."""
        return pack_segment(weight[:, :, None, None])

    def accumulate_integer(self, node, arrays, inputs):
        """Kernel ``multiply_sums`` with the weights shared by all rows."""
        (operand,), (limits,) = inputs, arrays["operand_range"]
        window = self.window(node, operand)
        sums = layer_sums(arrays["weight"], self.images(node, operand), window, int(abs(limits).max()))
        return self.shaped(node, sums, operand)

    def accumulate_exact(self, node, arrays, inputs):
        """Float64 product of codes, exact below 2**53."""
        return (inputs[0].astype(np.float64) @ arrays["weight"].T.astype(np.float64)).astype(np.int64)

    def unroll(self, node, arrays, inputs):
        """All rows as one matrix; terms by input channel."""
        return inputs[0].reshape(1, -1, inputs[0].shape[-1]), arrays["weight"].T[None]

    def roll(self, node, sums, inputs):
        """Rows in their shape."""
        return sums.reshape(*inputs[0].shape[:-1], -1)

    def matrix_work(self, node, context):
        """Rows x outputs x inputs."""
        k = sum(context.graph[name].type.shape[-1] for name in node.inputs)
        n = node.type.shape[-1]
        return node.type.elements // n * context.batch, n, k, 1
