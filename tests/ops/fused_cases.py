"""Layers and pairs for the fused products, their sums by dense float64 matrices, and one digest of many."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from hqsim.graph import Node
from hqsim.numerics import Format, Transform
from hqsim.ops.fused import (
    Finished,
    PackedLayer,
    Rescale,
    layer_sums,
    multiply_layer,
    multiply_pair,
    pack_layer,
    pack_segment,
    pair_sums,
)
from hqsim.ops.layer_layout import Window
from tests import naive
from tests.ops.builders import carrier, make_node

BIAS_BITS = 8


class Shape(NamedTuple):
    """A convolution: image, outputs, kernel, stride, padding (top, left, bottom, right)."""

    batch: int
    channels: int
    height: int
    width: int
    outputs: int
    kernel: int
    stride: int
    padding: tuple[int, int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        top, left, bottom, right = self.padding
        return (
            (self.height + top + bottom - self.kernel) // self.stride + 1,
            (self.width + left + right - self.kernel) // self.stride + 1,
        )

    @property
    def window(self) -> Window:
        """The same as the product wants it."""
        return Window((self.kernel, self.kernel), self.stride, self.padding[:2], self.size)


SHAPES = [
    Shape(1, 32, 5, 64, 7, 3, 1, (1, 1, 1, 1)),
    Shape(2, 64, 4, 32, 33, 3, 2, (0, 0, 1, 1)),
    Shape(1, 96, 3, 32, 5, 1, 1, (0, 0, 0, 0)),
]


def random_codes(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random codes with both ends among them, int64."""
    codes = rng.integers(low, high + 1, shape)
    codes.flat[0], codes.flat[-1] = low, high
    return codes


def make_layer_node(transform: Transform | None) -> Node:
    """A convolution with the attributes that tell its transform."""
    return make_node(
        "conv2d",
        (1, 1, 1),
        channel_axis=1,
        hadamard_axis=transform.axis if transform else "channel",
        hadamard_order=transform.order if transform else 0,
        hadamard_signs=bool(transform and transform.signs),
        hadamard_kind="single",
    )


def make_rescale(multiplier: np.ndarray, shift: np.ndarray, bias: np.ndarray) -> Rescale:
    """Factors as the products take them; the bias has ``BIAS_BITS`` fractional bits."""
    return Rescale(multiplier.astype(np.int32), bias, np.int64(BIAS_BITS), shift)


def inverse_range(source: Format, zero_point: int, transform: Transform | None) -> tuple[int, int]:
    """Extremes of ``(q - z) H``: every row of the matrix at the codes that make it largest and smallest."""
    low, high = source.low - zero_point, source.high - zero_point
    matrix = np.array(naive.hadamard(transform.size if transform else 1))
    largest = np.where(matrix > 0, high, -low).sum(axis=1)
    smallest = np.where(matrix > 0, low, -high).sum(axis=1)
    return int(smallest.min()), int(largest.max())


class Layer:
    """Random codes and weights of one layer."""

    def __init__(
        self, shape: Shape, transform: Transform | None, source: Format, zero_point: int, weight_bits: int
    ) -> None:
        rng = np.random.default_rng(weight_bits)
        self.shape, self.transform, self.zero_point = shape, transform, zero_point
        self.node = make_layer_node(transform)
        image = (shape.batch, shape.channels, shape.height, shape.width)
        self.codes = random_codes(rng, source.low, source.high, image).astype(source.dtype)
        half = 2 ** (weight_bits - 1) - 1
        weights = (shape.outputs, shape.channels, shape.kernel, shape.kernel)
        self.weight = random_codes(rng, -half, half, weights)
        self.range = inverse_range(source, zero_point, transform)
        self.multiplier = rng.integers(2**14, 2**15, shape.outputs)
        self.shift = rng.integers(20, 26, shape.outputs)
        self.bias = rng.integers(-(2**14), 2**14, shape.outputs)

    def operand(self) -> np.ndarray:
        """What the multiplier sees, int64, by the dense matrix."""
        centred = self.codes.astype(np.int64) - self.zero_point
        if self.transform is None:
            return centred
        axis, n = {"channel": 1, "width": 3}[self.transform.axis], self.transform.size
        signs = naive.rudin_shapiro(n) if self.transform.signs else [1] * n
        moved = np.moveaxis(centred, axis, -1)
        blocks = moved.reshape(*moved.shape[:-1], -1, n) @ np.array(naive.hadamard(n)) * np.array(signs)
        return np.moveaxis(blocks.reshape(moved.shape), -1, axis)

    def sums(self) -> np.ndarray:
        """The sums ``[b, h, w, outputs]`` by a float64 convolution."""
        return dense_sums(self.operand(), self.weight, self.shape)

    def finish(self, sums: np.ndarray, output: Format) -> tuple[np.ndarray, int]:
        """Codes and saturation count of the sums, in int64 by floor divisions."""
        bias = self.bias * 2 ** (self.shift - BIAS_BITS)
        values = np.floor_divide(sums * self.multiplier + bias + 2 ** (self.shift - 1), 2**self.shift)
        codes = values.clip(output.low, output.high)
        return codes, int(np.count_nonzero(codes != values))

    def pack(self) -> PackedLayer:
        """The weights as this CPU wants them."""
        return pack_layer(self.node, self.weight, *self.range)

    def run(self, output: Format) -> Finished:
        """The fused product."""
        rescale = make_rescale(self.multiplier, self.shift, self.bias)
        images = np.ascontiguousarray(self.codes.transpose(0, 2, 3, 1))
        return multiply_layer(
            self.pack(), images, lambda: self.shape.window, self.zero_point, rescale, output
        )


def dense_sums(operand: np.ndarray, weight: np.ndarray, shape: Shape, groups: int = 1) -> np.ndarray:
    """A convolution of integers ``[b, c, h, w]`` in float64: ``[b, h, w, outputs]``, exact below 2**53."""
    import torch

    top, left, bottom, right = shape.padding
    padded = np.pad(operand, ((0, 0), (0, 0), (top, bottom), (left, right))).astype(np.float64)
    sums = torch.nn.functional.conv2d(
        torch.from_numpy(padded),
        torch.from_numpy(weight.astype(np.float64)),
        stride=shape.stride,
        groups=groups,
    )
    return sums.numpy().astype(np.int64).transpose(0, 2, 3, 1)


def digest() -> str:
    """A hash of codes, counts and ranges of layers in every form, of pairs and of bare sums.

    Run in another process, for another CPU, it must be the same.
    """
    found = hashlib.sha256()

    def add(*values: np.ndarray | int) -> None:
        for value in values:
            found.update(np.ascontiguousarray(value, np.int64).tobytes())

    output = carrier(1.0, 12)
    signed, unsigned = Format(bits=4, scales=(1.0,)), Format(bits=8, scales=(1.0,), signed=False)
    for shape in SHAPES:
        for transform in (None, Transform("channel", 5, True), Transform("width", 5, False)):
            for source, zero_point in ((signed, 0), (unsigned, 100)):
                done = Layer(shape, transform, source, zero_point, 4).run(output)
                add(done.codes, done.saturated, done.lowest, done.highest)
    rng = np.random.default_rng(0)
    for bits in (8, 16):
        half = 2 ** (bits - 1)
        a, b = (random_codes(rng, -half, half - 1, (2, rows, 70)).astype(np.int16) for rows in (13, 37))
        ranges = np.array([[-half, half - 1]] * 2)
        add(pair_sums(a, b, ranges))
    rescale = make_rescale(np.full(37, 20000), np.full(37, 28), np.zeros(37, np.int64))
    for a_high in (127, 255):
        a, b = (random_codes(rng, 0, a_high, (2, 13, 70)), random_codes(rng, -128, 127, (2, 37, 70)))
        done = multiply_pair(
            a.astype(np.int16),
            b.astype(np.int8),
            np.array([[0, a_high], [-128, 127]]),
            np.array([0, 0]),
            rescale,
            output,
        )
        add(done.codes, done.saturated, done.lowest, done.highest)
    operand = random_codes(rng, -(2**15), 2**15 - 1, (1, 5, 6, 8)).astype(np.int16)
    panels = pack_segment(random_codes(rng, -(2**12), 2**12, (6, 4, 3, 3)), groups=2)
    add(layer_sums(panels, operand, Window((3, 3), 1, (1, 1), (5, 6)), 2**15))
    return found.hexdigest()
