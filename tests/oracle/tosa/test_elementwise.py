"""MUL, ADD, RESIZE and RESCALE against sums and products of carriers, nearest upsample and average pool."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.ops import OPERATORS
from tests.ops.builders import carrier, make_node, prepare
from tests.oracle.layers import codes
from tests.oracle.tosa import graphs
from tests.oracle.tosa.reference import SHAPE, TosaGraph, TosaReference

FILLS = [("random", "random"), ("low", "low"), ("low", "high"), ("high", "high")]
WIDTHS = {"INT8": 8, "INT16": 16}


def multiply(graph: TosaGraph, a: str | int, b: str | int, shape: tuple[int, ...]) -> int:
    """MUL in 32 bits."""
    return graph.add("MUL", [a, b, graph.constant([0], "INT8")], shape, "INT32", "MulAttribute")


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_add(bits: int, repeated: bool, tosa: TosaReference) -> None:
    """``q1 M1 + q2 M2`` in 32 bits, one RESCALE; full 16-bit codes reach 2**31 - 2**16."""
    high = 2 ** (bits - 1) - 1
    shape, other = (2, 6, 5, 4), (2, 6, 1, 1) if repeated else (2, 6, 5, 4)
    output = carrier(1.0, bits)
    requests, results = [], []
    for first, second, shift in ((32767, 32767, 15), (16384, 9001, 15), (16385, 20000, 14), (77, 30000, 18)):
        for fills in FILLS:
            a, b = codes(-high - 1, high, shape, fills[0]), codes(-high - 1, high, other, fills[1], seed=1)
            graph = TosaGraph()
            parts = [
                multiply(graph, graph.tensor(x, "INT32"), graph.constant([[[[factor]]]], "INT32"), x.shape)
                for x, factor in ((a, first), (b, second))
            ]
            total = graph.add("ADD", parts, shape, "INT32", "AddAttribute")
            graphs.rescale(graph, total, ("INT32", f"INT{bits}"), shape, ([2**14], [14 + shift]))
            requests.append(graph)
            formats = {"a": carrier(first * 2.0**-shift, bits), "b": carrier(second * 2.0**-shift, bits)}
            node = make_node("add", shape[1:], inputs=("a", "b"))
            arrays = prepare(node, formats | {"y": output})
            inputs = [x.astype(output.dtype) for x in (a, b)]
            results.append(OPERATORS["add"].integer(node, arrays, inputs, output)[0])
    for expected, result in zip(tosa.evaluate(requests), results, strict=True):
        assert np.array_equal(result, expected)


@pytest.mark.parametrize("repeated", [False, True])
def test_product(repeated: bool, tosa: TosaReference) -> None:
    shape, other = (2, 6, 5, 4), (2, 6, 1, 1) if repeated else (2, 6, 5, 4)
    output = carrier(1.0)
    requests, results = [], []
    for multiplier, shift in ((2**14, 29), (2**15 - 1, 30), (21845, 31)):
        for fills in FILLS:
            a, b = codes(-32768, 32767, shape, fills[0]), codes(-32768, 32767, other, fills[1], seed=1)
            graph = TosaGraph()
            product = multiply(graph, graph.tensor(a, "INT32"), graph.tensor(b, "INT32"), shape)
            graphs.rescale(graph, product, ("INT32", "INT16"), shape, ([multiplier], [shift]))
            requests.append(graph)
            node = make_node("product", shape[1:], inputs=("a", "b"))
            formats = {"a": carrier(multiplier * 2.0**-shift), "b": carrier(1.0), "y": output}
            inputs = [x.astype(np.int16) for x in (a, b)]
            results.append(OPERATORS["product"].integer(node, prepare(node, formats), inputs, output)[0])
    for expected, result in zip(tosa.evaluate(requests), results, strict=True):
        assert np.array_equal(result, expected)


def test_nearest_upsample(tosa: TosaReference) -> None:
    """RESIZE with the centres of pixels aligned, as torch has it."""
    requests, results = [], []
    for kind, bits in WIDTHS.items():
        source = carrier(1.0, bits)
        for factor in (2, 3, 4):
            x = codes(source.low, source.high, (1, 5, 4, 3), "random", seed=factor)
            shape = (5, 4 * factor, 3 * factor)
            graph = TosaGraph()
            inputs = [
                graph.tensor(graphs.channels_last(x), kind),
                graph.constant([2 * factor, 2, 2 * factor, 2], SHAPE),
                graph.constant([1 - factor, 1 - factor], SHAPE),
                graph.constant([factor - 1, factor - 1], SHAPE),
            ]
            graph.add("RESIZE", inputs, (1, *shape[1:], 5), kind, "ResizeAttribute", "NEAREST")
            requests.append(graph)
            node = make_node("upsample_nearest", shape, factor=factor)
            x = x.astype(source.dtype)
            results.append(OPERATORS["upsample_nearest"].integer(node, {}, [x], source)[0])
    for expected, result in zip(tosa.evaluate(requests), results, strict=True):
        assert np.array_equal(result, graphs.channels_first(expected))


def test_average_pool(tosa: TosaReference) -> None:
    """A convolution of ones, then RESCALE: AVG_POOL2D itself rounds ties away from zero."""
    requests, results = [], []
    for kind, bits in WIDTHS.items():
        source = carrier(1.0, bits)
        for factor, fill in ((2, "random"), (2, "low"), (2, "high"), (4, "random")):
            x = codes(source.low, source.high, (1, 3, 8, 12), fill)
            graph = TosaGraph()
            ones = np.ones((1, 1, factor, factor), int)
            total, shape = graphs.conv2d(graph, x.swapaxes(0, 1), ones, factor, (0, 0, 0, 0), kind=kind)
            places = 2 * (factor.bit_length() - 1)
            graphs.rescale(graph, total, (graphs.ACCUMULATORS[kind], kind), shape, ([2**14], [14 + places]))
            requests.append(graph)
            node = make_node("average_pool", (3, 8 // factor, 12 // factor), factor=factor)
            arrays = prepare(node, {"x": source, "y": source})
            x = x.astype(source.dtype)
            results.append(OPERATORS["average_pool"].integer(node, arrays, [x], source)[0])
    for expected, result in zip(tosa.evaluate(requests), results, strict=True):
        assert np.array_equal(result, graphs.channels_first(expected).swapaxes(0, 1))
