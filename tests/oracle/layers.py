"""Products with chosen integer weights, run by the very code that the integer executor runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hqsim.graph import Node
from hqsim.numerics import Format, Transform
from hqsim.ops import OPERATORS, Multiply, Preparation, WeightCodes
from tests.ops.builders import carrier, make_node, prepare, transform_attributes
from tests.property.cases import packed_arrays

Padding = tuple[int, int, int, int]
"""Top, left, bottom, right."""


def operand(bits: int = 8, *, signed: bool = True, zero_point: int = 0) -> Format:
    return Format(bits=bits, scales=(1.0,), signed=signed, zero_points=(zero_point,))


def conv_node(
    x: np.ndarray, weight: np.ndarray, stride: int, padding: Padding, transform: Transform | None = None
) -> Node:
    """The convolution of ``x [b, c, h, w]`` with ``weight [o, c / groups, kh, kw]``."""
    outputs, group_channels, *kernel = weight.shape
    node = make_node(
        "conv2d",
        (),
        parameters={"weight": "w"},
        kernel=(outputs, *kernel),
        stride=stride,
        padding=padding,
        groups=x.shape[1] // group_channels,
        weight_bits=8,
        **transform_attributes(transform, 1),
    )
    return shaped(node, [x])


def linear_node(x: np.ndarray, weight: np.ndarray, transform: Transform | None = None) -> Node:
    """The linear layer ``x [..., k]`` times ``weight [n, k]``, transposed."""
    node = make_node(
        "linear",
        (),
        parameters={"weight": "w"},
        outputs=len(weight),
        weight_bits=8,
        **transform_attributes(transform, x.ndim - 1),
    )
    return shaped(node, [x])


def matmul_node(a: np.ndarray, b: np.ndarray, *, transpose_b: bool) -> Node:
    """The product of ``a [b, heads, m, k]`` and ``b [b, heads, k, n]``, or ``[b, heads, n, k]``."""
    node = make_node(
        "matmul",
        (),
        inputs=("x", "z"),
        transpose_b=transpose_b,
        factor=1.0,
        reduction=a.shape[-1],
    )
    return shaped(node, [a, b])


def shaped(node: Node, inputs: Sequence[np.ndarray]) -> Node:
    """The node with the shape that its operator gives it."""
    shape = OPERATORS[node.op].shape(node, [x.shape[1:] for x in inputs])
    return make_node(node.op, shape, inputs=node.inputs, parameters=node.parameters, **node.attributes)


def check_sums(
    expected: np.ndarray,
    node: Node,
    inputs: Sequence[np.ndarray],
    formats: Sequence[Format],
    weight: np.ndarray | None = None,
) -> None:
    """Assert that a product has these sums, this range of them, and as codes the sums rounded and clamped.

    The executor's sums may never leave a kernel. Its codes show all bits of those that fit 16 bits, and the
    upper 16 of all.
    """
    operator, output = OPERATORS[node.op], carrier(1.0)
    assert isinstance(operator, Multiply)
    named = dict(zip(node.inputs, formats, strict=True))
    given = [x.astype(source.dtype) for x, source in zip(inputs, formats, strict=True)]
    largest = int(np.abs(expected).max()).bit_length()
    for places in {0, max(0, largest - 15)}:
        weights = {}
        if weight is None:
            named["z"] = replace(named["z"], scales=(2.0**-places,))
        else:
            scales = np.full(len(weight), 2.0 ** (node.integer("hadamard_order") - places))
            weights["w"] = WeightCodes.of(weight.astype(np.int8), scales, 8)
        formats_by_name = named | {"y": output}
        (totals,), _ = operator.sums_integer(node, prepare(node, formats_by_name, weights=weights), given)
        assert np.array_equal(totals, expected)
        arrays = packed_arrays(node, Preparation(formats_by_name, {}, weights))
        found = operator.finished(node, arrays, given, output)
        rounded = (2 * expected.astype(np.int64) + 2**places) >> (places + 1)
        assert np.array_equal(found.codes, np.clip(rounded, output.low, output.high))
        assert found.saturated == np.count_nonzero(found.codes != rounded)
        assert (found.lowest, found.highest) == (expected.min(), expected.max())


def codes(low: int, high: int, shape: tuple[int, ...], fill: str, seed: int = 0) -> np.ndarray:
    """Random codes of [low, high], or one of the ends everywhere, int64."""
    if fill == "random":
        return np.random.default_rng(seed).integers(low, high + 1, shape)
    return np.full(shape, {"low": low, "high": high}[fill])


FACTORS = [(2**14, 15), (2**15 - 1, 22), (21845, 27), (24576, 33), (16385, 24), (30000, 30)]


def channel_factors(count: int, more: int = 0) -> tuple[list[int], list[int]]:
    """Multipliers and shifts of ``count`` output channels; ``more`` makes them smaller."""
    chosen = [FACTORS[channel % len(FACTORS)] for channel in range(count)]
    return [multiplier for multiplier, _ in chosen], [shift + more for _, shift in chosen]


def whole_layer(
    node: Node,
    x: np.ndarray,
    source: Format,
    weight: np.ndarray,
    factors: tuple[list[int], list[int]],
    output: Format,
) -> np.ndarray:
    """The result of a layer whose sums are rescaled by ``factors``: operand and output have scale 1."""
    multiplier, shift = map(np.array, factors)
    weights = {"w": WeightCodes.of(weight.astype(np.int8), multiplier * 2.0**-shift, 8)}
    arrays = packed_arrays(node, Preparation({"x": source, "y": output}, {}, weights))
    result, _ = OPERATORS[node.op].integer(node, arrays, [x.astype(source.dtype)], output)
    return result
