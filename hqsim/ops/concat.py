"""Concatenation: every side rescaled to the largest scale (the side that has it is copied exactly)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hqsim.numerics import Format
from hqsim.ops.base import Operator
from hqsim.ops.layout import CHANNELS_FIRST, CHANNELS_LAST, is_channels_last
from hqsim.ops.rescale import rescale_arrays, rescale_exact


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
        """Kernel ``rescale_runs``, each side straight into its place."""
        from hqsim.kernels.rescale import rescale_runs

        axis, order = node.attributes["axis"], tuple(range(inputs[0].ndim))
        views = inputs
        if all(is_channels_last(x) for x in inputs):
            views, order = [x.transpose(CHANNELS_LAST) for x in inputs], CHANNELS_FIRST
            axis = CHANNELS_LAST.index(axis)
        outer, inner = (math.prod(lengths) for lengths in (views[0].shape[:axis], views[0].shape[axis + 1 :]))
        lengths = [x.shape[axis] for x in views]
        joined = np.empty((*views[0].shape[:axis], sum(lengths), *views[0].shape[axis + 1 :]), output.dtype)
        codes, pitch, done, saturated = joined.reshape(-1), joined.size // outer, 0, 0
        limits = np.int64(output.low), np.int64(output.high)
        for x, multiplier, shift in zip(views, arrays["multiplier"], arrays["shift"], strict=True):
            flat, run = np.ascontiguousarray(x).reshape(-1), x.shape[axis] * inner
            saturated += int(rescale_runs(flat, multiplier, shift, *limits, run, pitch, codes[done:]))
            done += run
        return joined.transpose(order), saturated

    def exact(self, node, arrays, inputs, output: Format):
        """Plain int64 per side."""
        sides = zip(inputs, arrays["multiplier"], arrays["shift"], strict=True)
        parts = [rescale_exact(x, multiplier, shift, output) for x, multiplier, shift in sides]
        codes = np.concatenate([part for part, _ in parts], axis=node.attributes["axis"])
        return codes, sum(count for _, count in parts)
