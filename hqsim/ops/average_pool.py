"""Average pooling: ``rhu(Σ q, s)`` over windows of ``2**s`` pixels.

A mean stays in the range of its input, so the format stays and nothing saturates.
"""

from __future__ import annotations

import numpy as np

from hqsim.numerics import shift_round_half_up
from hqsim.ops.base import Operator


class AveragePool(Operator):
    """``[c, h, w]`` in windows of ``factor x factor`` (a power of two) with stride ``factor``."""

    name = "average_pool"

    def shape(self, node, inputs):
        """Height and width shrink; a remainder is left out."""
        factor = node.attributes["factor"]
        channels, height, width = inputs[0]
        return channels, height // factor, width // factor

    def evaluate(self, node, inputs, parameters):
        """Torch avg_pool2d."""
        from torch.nn.functional import avg_pool2d

        return avg_pool2d(inputs[0], node.attributes["factor"])

    def output_format(self, node, inputs, carrier):
        """The format of the input."""
        return inputs[0]

    def prepare(self, node, preparation):
        """Twice the binary logarithm of ``factor``."""
        return {"shift": np.array([2 * (node.integer("factor").bit_length() - 1)], np.int64)}

    def integer(self, node, arrays, inputs, output):
        """Kernel ``average_pool`` on pixels of contiguous channels."""
        from hqsim.kernels.pool import average_pool

        pixels = np.ascontiguousarray(inputs[0].transpose(0, 2, 3, 1))
        channels, height, width = node.type.shape
        codes = np.empty((len(pixels), height, width, channels), output.dtype)
        average_pool(pixels, np.int64(node.attributes["factor"]), arrays["shift"][0], codes)
        return codes.transpose(0, 3, 1, 2), 0

    def exact(self, node, arrays, inputs, output):
        """Sums of windows, plainly."""
        factor = node.attributes["factor"]
        channels, height, width = node.type.shape
        x = inputs[0][:, :, : height * factor, : width * factor].astype(np.int64)
        windows = x.reshape(len(x), channels, height, factor, width, factor)
        return shift_round_half_up(windows.sum(axis=(3, 5)), arrays["shift"][0]).astype(output.dtype), 0

    def record(self, node, context):
        """One addition per pixel that is read."""
        elements = context.uses[node.name].elements * node.integer("factor") ** 2
        return self.vector_record(node, context, vector={"add": elements})
