"""Convolution: stride, zero padding after the inverse transform, groups, any kernel.

Attributes: ``stride``, ``padding`` (top, left, bottom, right), ``groups`` (1 when absent), ``channel_axis`` 1
and the transform. Several inputs are the sides of a concatenation along the channels.
"""

from __future__ import annotations

import numpy as np

from hqsim.graph import ConvWork
from hqsim.ops.fused import layer_sums, pack_segment
from hqsim.ops.layer_layout import Window, distinct_windows
from hqsim.ops.multiply import Multiply
from hqsim.ops.sums import groups_of


class Conv2d(Multiply):
    """``[c, h, w] -> [o, ho, wo]`` with weights ``[o, c / groups, kh, kw]``."""

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
        """Torch convolution; padding that differs between the sides is added before."""
        import torch
        from torch.nn.functional import conv2d, pad

        x = torch.cat(list(inputs), 1) if len(inputs) > 1 else inputs[0]
        top, left, bottom, right = node.attributes["padding"]
        if (top, left) != (bottom, right):
            x, top, left = pad(x, (left, right, top, bottom)), 0, 0
        bias = parameters[node.parameters["bias"]] if "bias" in node.parameters else None
        return conv2d(
            x,
            parameters[node.parameters["weight"]],
            bias,
            stride=node.attributes["stride"],
            padding=(top, left),
            groups=groups_of(node),
        )

    def window(self, node, array):
        """The convolution itself."""
        top, left, _, _ = node.attributes["padding"]
        height, width = node.type.shape[1:]
        kernel = tuple(node.attributes["kernel"][1:])
        return Window(kernel, node.attributes["stride"], (top, left), (height, width))

    def images(self, node, operand):
        """Channels last."""
        return operand.transpose(0, 2, 3, 1)

    def shaped(self, node, images, operand):
        """Channels first, as a view."""
        return images.transpose(0, 3, 1, 2)

    def pack_weight(self, node, weight):
        """Panels of every group."""
        return pack_segment(weight, groups_of(node))

    def accumulate_integer(self, node, arrays, inputs):
        """Kernel ``multiply_sums``, an implicit GEMM per group."""
        (operand,), (limits,) = inputs, arrays["operand_range"]
        window = self.window(node, operand)
        sums = layer_sums(arrays["weight"], self.images(node, operand), window, int(abs(limits).max()))
        return self.shaped(node, sums, operand)

    def accumulate_exact(self, node, arrays, inputs):
        """Torch float64 convolution of codes, exact below 2**53."""
        import torch

        sums = torch.nn.functional.conv2d(
            torch.from_numpy(self._padded(node, inputs[0]).astype(np.float64)),
            torch.from_numpy(arrays["weight"].astype(np.float64)),
            stride=node.attributes["stride"],
            groups=groups_of(node),
        )
        return sums.numpy().astype(np.int64)

    def unroll(self, node, arrays, inputs):
        """One row per pixel, one matrix per group; terms by input channel, kernel row, kernel column."""
        weight, groups, stride = arrays["weight"], groups_of(node), node.attributes["stride"]
        outputs, depth, kh, kw = weight.shape
        padded = self._padded(node, inputs[0])
        patches = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(2, 3))
        patches = patches[:, :, ::stride, ::stride]
        batch, _, height, width = patches.shape[:4]
        patches = patches.reshape(batch, groups, depth, height, width, kh, kw).transpose(1, 0, 3, 4, 2, 5, 6)
        rows = weight.reshape(groups, outputs // groups, depth * kh * kw)
        return patches.reshape(groups, batch * height * width, depth * kh * kw), rows.swapaxes(1, 2)

    def roll(self, node, sums, inputs):
        """Groups and their outputs become channels."""
        outputs, height, width = node.type.shape
        groups = groups_of(node)
        images = sums.reshape(groups, -1, height, width, outputs // groups).transpose(1, 0, 4, 2, 3)
        return images.reshape(-1, outputs, height, width)

    def matrix_work(self, node, context):
        """Pixels x outputs of a group x (kernel x inputs of a group), groups."""
        outputs, height, width = node.type.shape
        _, kh, kw = node.attributes["kernel"]
        groups = groups_of(node)
        channels = sum(context.graph[name].type.shape[0] for name in node.inputs)
        return height * width * context.batch, outputs // groups, kh * kw * channels // groups, groups

    def conv_work(self, node, context):
        """The convolution of the concatenated inputs."""
        outputs, out_h, out_w = node.type.shape
        _, kernel_h, kernel_w = node.attributes["kernel"]
        shapes = [context.graph[name].type.shape for name in node.inputs]
        stride = node.attributes["stride"]
        return ConvWork(
            kernel_h=kernel_h,
            kernel_w=kernel_w,
            stride_h=stride,
            stride_w=stride,
            in_h=shapes[0][1],
            in_w=shapes[0][2],
            out_h=out_h,
            out_w=out_w,
            in_channels=sum(shape[0] for shape in shapes),
            out_channels=outputs,
            groups=groups_of(node),
            batch=context.batch,
        )

    def parity_rows(self, node, transform, context):
        """Of every row of pixels the columns whose windows meet different pieces of blocks."""
        _, height, width = context.graph[node.inputs[0]].type.shape
        window = self.window(node, np.empty((0, height, width)))
        blocks, _ = distinct_windows(window, width // transform.size, transform.size)
        return context.batch * node.type.shape[1] * blocks.shape[1]

    @staticmethod
    def _padded(node, operand):
        top, left, bottom, right = node.attributes["padding"]
        return np.pad(operand, ((0, 0), (0, 0), (top, bottom), (left, right)))
