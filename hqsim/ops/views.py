"""Rearrangements: input, reshape, permute, slice, nearest upsample. Codes only move; formats stay."""

from __future__ import annotations

import numpy as np

from hqsim.ops.base import Operator


class Input(Operator):
    """A model input; its format is fixed by the sampler."""

    name = "input"

    def record(self, node, context):
        """Inputs cost nothing by themselves."""
        return None


class Reshape(Operator):
    """Another shape of the same sample, stated by the node's own type."""

    name = "reshape"
    is_view = True

    def shape(self, node, inputs):
        """What the node says; the number of elements stays."""
        return node.type.shape

    def evaluate(self, node, inputs, parameters):
        """Torch reshape."""
        return inputs[0].reshape(inputs[0].shape[0], *node.type.shape)

    def integer(self, node, arrays, inputs, output):
        """Numpy reshape."""
        return inputs[0].reshape(inputs[0].shape[0], *node.type.shape), 0

    exact = integer


class Permute(Operator):
    """Axes in another order; attribute ``order`` counts the batch as axis 0."""

    name = "permute"
    is_view = True

    def shape(self, node, inputs):
        """The input's shape, permuted."""
        return tuple(inputs[0][axis - 1] for axis in node.attributes["order"][1:])

    def evaluate(self, node, inputs, parameters):
        """Torch permute."""
        return inputs[0].permute(*node.attributes["order"])

    def integer(self, node, arrays, inputs, output):
        """Numpy transpose, made contiguous for the kernels."""
        return np.ascontiguousarray(inputs[0].transpose(node.attributes["order"])), 0

    def exact(self, node, arrays, inputs, output):
        """Numpy transpose."""
        return inputs[0].transpose(node.attributes["order"]), 0


class UpsampleNearest(Operator):
    """Each pixel repeated ``factor`` times along height and width."""

    name = "upsample_nearest"
    vector_kind = "copy"

    def shape(self, node, inputs):
        """Channels stay, height and width grow."""
        factor = node.attributes["factor"]
        channels, height, width = inputs[0]
        return channels, height * factor, width * factor

    def evaluate(self, node, inputs, parameters):
        """Torch interpolate."""
        from torch.nn.functional import interpolate

        return interpolate(inputs[0], scale_factor=float(node.attributes["factor"]), mode="nearest")

    def output_format(self, node, inputs, carrier):
        """Codes are copied: the format of the input."""
        return inputs[0]

    def integer(self, node, arrays, inputs, output):
        """Repeat along both axes."""
        factor = node.attributes["factor"]
        return inputs[0].repeat(factor, axis=2).repeat(factor, axis=3), 0

    def exact(self, node, arrays, inputs, output):
        """Index with ``floor(i / factor)``."""
        factor = node.attributes["factor"]
        rows, columns = (np.arange(size * factor) // factor for size in inputs[0].shape[2:])
        return inputs[0][:, :, rows[:, None], columns[None, :]], 0
