"""Concatenation: every side rescaled to the largest scale (the side that has it is copied exactly)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hqsim.numerics import Format
from hqsim.ops.base import Operator
from hqsim.ops.layout import CHANNELS_FIRST, CHANNELS_LAST, is_channels_last
from hqsim.ops.rescale import rescale_arrays, rescale_exact, rescale_integer


class Concat(Operator):
    """Along ``axis`` (the batch counted as axis 0)."""

    name = "concat"
    vector_kind = "rescale"

    def shape(self, node, inputs):
        """Lengths add along the axis."""
        axis = node.attributes["axis"] - 1
        shape = list(inputs[0])
        shape[axis] = sum(shape_[axis] for shape_ in inputs)
        return tuple(shape)

    def evaluate(self, node, inputs, parameters):
        """Torch cat."""
        import torch

        return torch.cat(list(inputs), node.attributes["axis"])

    def output_format(self, node, inputs, carrier):
        """The width of the carriers at the largest scale."""
        return replace(carrier, scales=(max(source.scale for source in inputs),))

    def prepare(self, node, preparation):
        """One factor per side."""
        scales = np.array([source.scale for source in preparation.inputs(node)])
        return rescale_arrays(scales / preparation.output(node).scale, node.name)

    def integer(self, node, arrays, inputs, output: Format):
        """Kernel ``rescale`` per side."""
        return self._join(node, arrays, inputs, output, rescale_integer)

    def exact(self, node, arrays, inputs, output: Format):
        """Plain int64 per side."""
        return self._join(node, arrays, inputs, output, rescale_exact)

    def _join(self, node, arrays, inputs, output, rescale):
        sides = zip(inputs, arrays["multiplier"], arrays["shift"], strict=True)
        parts = [rescale(x, multiplier, shift, output) for x, multiplier, shift in sides]
        saturated = sum(count for _, count in parts)
        axis, codes = node.attributes["axis"], [part for part, _ in parts]
        if all(is_channels_last(part) for part in codes):
            views = [part.transpose(CHANNELS_LAST) for part in codes]
            joined = np.concatenate(views, axis=CHANNELS_LAST.index(axis))
            return joined.transpose(CHANNELS_FIRST), saturated
        return np.concatenate(codes, axis=axis), saturated
