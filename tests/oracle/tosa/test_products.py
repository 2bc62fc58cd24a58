"""CONV2D and MATMUL against the sums of convolutions and attention products."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.ops import OPERATORS, Preparation
from tests.ops.builders import carrier
from tests.oracle.layers import check_sums, codes, conv_node, matmul_node, operand
from tests.oracle.tosa import graphs
from tests.oracle.tosa.reference import TosaGraph, TosaReference
from tests.property.cases import packed_arrays

CONVOLUTIONS = [
    # channels, height, width, outputs, kernel, stride, (top, left, bottom, right): TOSA wants no remainder
    (5, 6, 7, 4, 3, 1, (1, 1, 1, 1)),
    (16, 8, 8, 6, 3, 2, (0, 0, 1, 1)),
    (7, 10, 5, 3, 3, 2, (1, 0, 0, 2)),
    (960, 3, 3, 2, 3, 1, (1, 1, 1, 1)),
    (130, 4, 5, 9, 1, 1, (0, 0, 0, 0)),
    (3, 7, 6, 2, 2, 2, (0, 0, 1, 0)),
]
FILLS = [("random", "random"), ("low", "low"), ("low", "high"), ("high", "high")]


def test_convolutions(tosa: TosaReference) -> None:
    """Strides 1 and 2, symmetric and asymmetric padding, K up to 8640; -128 * -127 everywhere."""
    requests, layers = [], []
    for channels, height, width, outputs, kernel, stride, padding in CONVOLUTIONS:
        for fills in FILLS:
            x = codes(-128, 127, (2, channels, height, width), fills[0])
            weight = codes(-127, 127, (outputs, channels, kernel, kernel), fills[1], seed=1)
            graph = TosaGraph()
            graphs.conv2d(graph, x, weight, stride, padding)
            requests.append(graph)
            layers.append((conv_node(x, weight, stride, padding), [x], [operand()], weight))
    for expected, layer in zip(tosa.evaluate(requests), layers, strict=True):
        check_sums(graphs.channels_first(expected), *layer)


@pytest.mark.parametrize("transpose_b", [False, True])
def test_attention_products(transpose_b: bool, tosa: TosaReference) -> None:
    """Two heads as a batch; 8640 is longer than any attention of the published models."""
    requests, layers = [], []
    for m, k, n in ((3, 8640, 5), (17, 40, 19), (1, 1, 1)):
        for fills in FILLS:
            a = codes(-128, 127, (1, 2, m, k), fills[0])
            b = codes(-128, 127, (1, 2, k, n), fills[1], seed=1)
            graph = TosaGraph()
            graphs.matmul(graph, a[0], b[0])
            requests.append(graph)
            ours = b.swapaxes(-1, -2) if transpose_b else b
            node = matmul_node(a, ours, transpose_b=transpose_b)
            layers.append((node, [a, ours], [operand(), operand()]))
    for expected, layer in zip(tosa.evaluate(requests), layers, strict=True):
        check_sums(expected[None], *layer)


@pytest.mark.parametrize("zero_point", [0, 77, 255])
def test_convolutions_with_a_zero_point(zero_point: int, tosa: TosaReference) -> None:
    """TOSA's codes are signed: both codes and zero-point are 128 less. Padding is real zero."""
    source = operand(signed=False, zero_point=zero_point)
    requests, layers = [], []
    for channels, height, width, outputs, kernel, stride, padding in CONVOLUTIONS:
        for fills in FILLS:
            x = codes(0, 255, (2, channels, height, width), fills[0])
            weight = codes(-127, 127, (outputs, channels, kernel, kernel), fills[1], seed=1)
            graph = TosaGraph()
            graphs.conv2d(graph, x - 128, weight, stride, padding, zero_point=zero_point - 128)
            requests.append(graph)
            layers.append((conv_node(x, weight, stride, padding), [x], [source], weight))
    for expected, layer in zip(tosa.evaluate(requests), layers, strict=True):
        check_sums(graphs.channels_first(expected), *layer)


def test_attention_products_of_16_bits(tosa: TosaReference) -> None:
    """Wide sums, seen through one rescale."""
    requests, results = [], []
    factor = 20000 * 2.0**-34
    for fills in FILLS:
        a = codes(-32768, 32767, (1, 2, 4, 100), fills[0])
        b = codes(-32768, 32767, (1, 2, 100, 3), fills[1], seed=1)
        graph = TosaGraph()
        product, shape = graphs.matmul(graph, a[0], b[0], kind="INT16")
        graphs.rescale(graph, product, ("INT48", "INT16"), shape, ([20000], [34]))
        requests.append(graph)
        node = matmul_node(a, b, transpose_b=False)
        output = carrier(1.0)
        formats = {"x": carrier(factor), "z": carrier(1.0), "y": output}
        arrays = packed_arrays(node, Preparation(formats, {}, {}))
        inputs = [a.astype(np.int16), b.astype(np.int16)]
        results.append(OPERATORS["matmul"].integer(node, arrays, inputs, output)[0])
    for expected, result in zip(tosa.evaluate(requests), results, strict=True):
        assert np.array_equal(result[0], expected)
