"""Rearrangements: input, reshape, permute, slice, nearest upsample. Codes only move; formats stay.

Views return numpy views where they can: what reads them takes any memory layout.
"""

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
        """Numpy transpose."""
        return inputs[0].transpose(node.attributes["order"]), 0

    exact = integer


class Slice(Operator):
    """Elements ``start`` to ``stop`` of one axis; attribute ``axis`` counts the batch as axis 0."""

    name = "slice"
    is_view = True

    def shape(self, node, inputs):
        """The axis becomes ``stop - start`` long."""
        shape = list(inputs[0])
        shape[node.attributes["axis"] - 1] = node.attributes["stop"] - node.attributes["start"]
        return tuple(shape)

    def evaluate(self, node, inputs, parameters):
        """Torch indexing."""
        return inputs[0][self._index(node)]

    def integer(self, node, arrays, inputs, output):
        """Numpy indexing."""
        return inputs[0][self._index(node)], 0

    exact = integer

    @staticmethod
    def _index(node):
        part = slice(node.attributes["start"], node.attributes["stop"])
        return (*[slice(None)] * node.attributes["axis"], part)


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
        """Whole pixels repeated along both axes: the result lies channels last."""
        factor = node.attributes["factor"]
        pixels = inputs[0].transpose(0, 2, 3, 1)[:, :, None, :, None, :]
        batch, height, _, width, _, channels = pixels.shape
        repeated = np.broadcast_to(pixels, (batch, height, factor, width, factor, channels))
        return repeated.reshape(batch, height * factor, width * factor, channels).transpose(0, 3, 1, 2), 0

    def exact(self, node, arrays, inputs, output):
        """Index with ``floor(i / factor)``."""
        factor = node.attributes["factor"]
        rows, columns = (np.arange(size * factor) // factor for size in inputs[0].shape[2:])
        return inputs[0][:, :, rows[:, None], columns[None, :]], 0
