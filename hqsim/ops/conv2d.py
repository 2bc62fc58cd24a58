"""Convolution: stride, zero padding after the inverse transform, any kernel.

Attributes: ``stride``, ``padding`` (top, left, bottom, right), ``channel_axis`` 1 and the transform.
"""

from __future__ import annotations

import numpy as np

from hqsim.ops.multiply import Multiply


class Conv2d(Multiply):
    """``[c, h, w] -> [o, ho, wo]`` with weights ``[o, c, kh, kw]``."""

    name = "conv2d"
    channel_axis = 1

    def shape(self, node, inputs):
        """``floor((size + pads - kernel) / stride) + 1`` on both axes."""
        (_, height, width), (outputs, kh, kw) = inputs[0], node.attributes["kernel"]
        top, left, bottom, right = node.attributes["padding"]
        stride = node.attributes["stride"]
        return (
            outputs,
            (height + top + bottom - kh) // stride + 1,
            (width + left + right - kw) // stride + 1,
        )

    def evaluate(self, node, inputs, parameters):
        """Torch convolution of the padded input."""
        from torch.nn.functional import conv2d, pad

        top, left, bottom, right = node.attributes["padding"]
        padded = pad(inputs[0], (left, right, top, bottom))
        bias = parameters[node.parameters["bias"]] if "bias" in node.parameters else None
        return conv2d(padded, parameters[node.parameters["weight"]], bias, stride=node.attributes["stride"])

    def accumulate_integer(self, node, arrays, inputs):
        """Kernel ``conv2d_accumulate``, an implicit GEMM."""
        from hqsim.kernels.conv import conv2d_accumulate

        operand = self.inverse_integer(node, inputs[0])
        weight = arrays["weight"]
        outputs, _, kh, kw = weight.shape
        top, left, _, _ = node.attributes["padding"]
        sums = np.empty((operand.shape[0], *node.type.shape), self.sums_dtype(arrays))
        conv2d_accumulate(
            operand,
            weight.reshape(outputs, -1).astype(np.int16),
            (kh, kw),
            node.attributes["stride"],
            (top, left),
            sums.shape[-1],
            sums.reshape(*sums.shape[:2], -1),
        )
        return sums

    def accumulate_exact(self, node, arrays, inputs):
        """Torch float64 convolution of codes, exact below 2**53."""
        import torch

        top, left, bottom, right = node.attributes["padding"]
        operand = np.pad(self.inverse_exact(node, inputs[0]), ((0, 0), (0, 0), (top, bottom), (left, right)))
        sums = torch.nn.functional.conv2d(
            torch.from_numpy(operand.astype(np.float64)),
            torch.from_numpy(arrays["weight"].astype(np.float64)),
            stride=node.attributes["stride"],
        )
        return sums.numpy().astype(np.int64)

    def matrix_work(self, node, context):
        """Pixels x outputs x (kernel x inputs)."""
        outputs, height, width = node.type.shape
        _, kh, kw = node.attributes["kernel"]
        channels = context.graph[node.inputs[0]].type.shape[0]
        return height * width * context.batch, outputs, kh * kw * channels, 1
