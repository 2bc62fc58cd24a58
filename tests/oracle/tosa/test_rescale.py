"""RESCALE, single round, against ``rescale`` and whole layers: product, then one rescale per channel."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.ops import OPERATORS
from tests.ops.builders import carrier, make_node, prepare
from tests.oracle.layers import channel_factors, codes, conv_node, linear_node, operand, whole_layer
from tests.oracle.tosa import graphs
from tests.oracle.tosa.reference import TosaGraph, TosaReference

MULTIPLIERS = [2**14, 2**14 + 1, 21845, 24576, 2**15 - 1]
SHIFTS = [2, 13, 14, 15, 16, 22, 30, 31, 47, 62]
WIDTHS = {"INT8": 8, "INT16": 16, "INT32": 32}


def values_of(bits: int, multiplier: int, shift: int) -> np.ndarray:
    """Codes of ``bits`` whose result TOSA allows (32 bits): random, extreme, and around halves."""
    reach = min(2 ** (bits - 1), (2 ** (31 + shift)) // multiplier - 2, 2 ** (shift + 15)) - 1
    rng = np.random.default_rng(shift)
    halves = np.array([(2 * j + 1) * 2**shift // (2 * multiplier) for j in range(-40, 40)])
    around = np.concatenate([halves + step for step in (-1, 0, 1)]).clip(-reach - 1, reach)
    extremes = np.array([-reach - 1, -reach, -1, 0, 1, reach - 1, reach])
    return np.concatenate([rng.integers(-reach - 1, reach + 1, 200), around, extremes])


@pytest.mark.parametrize("scale32", [False, True])
@pytest.mark.parametrize("target", ["INT8", "INT16"])
@pytest.mark.parametrize("source", WIDTHS)
def test_rescale(source: str, target: str, scale32: bool, tosa: TosaReference) -> None:
    """With ``scale32`` the same factor is written with 31 bits, and TOSA takes shifts up to 62 of that."""
    requests, results = [], []
    more = 16 if scale32 else 0
    for multiplier in MULTIPLIERS:
        for shift in (shift for shift in SHIFTS if shift + more <= 62):
            x = values_of(WIDTHS[source], multiplier, shift)
            graph = TosaGraph()
            factors = ([multiplier << more], [shift + more])
            tensor = graph.tensor(x, source)
            graphs.rescale(graph, tensor, (source, target), x.shape, factors, scale32=scale32)
            requests.append(graph)
            input_format = carrier(multiplier * 2.0**-shift, WIDTHS[source])
            output = carrier(1.0, WIDTHS[target])
            node = make_node("rescale", x.shape)
            arrays = prepare(node, {"x": input_format, "y": output})
            results.append(
                OPERATORS["rescale"].integer(node, arrays, [x[None].astype(input_format.dtype)], output)[0]
            )
    for expected, result in zip(tosa.evaluate(requests), results, strict=True):
        assert np.array_equal(result[0], expected)


def test_the_values_hold_ties_of_both_signs_and_saturation() -> None:
    """What makes the test above sharp."""
    x = values_of(32, 24576, 16)
    ties = x[(x * 24576) % 2**16 == 2**15]
    assert ties.min() < 0 < ties.max()
    assert np.abs(x * 24576 >> 16).max() > 2**15


@pytest.mark.parametrize("target", ["INT8", "INT16"])
@pytest.mark.parametrize("kind", ["INT8", "INT16"])
def test_whole_convolutions(kind: str, target: str, tosa: TosaReference) -> None:
    """8-bit operands with sums of 32 bits, 16-bit operands with wide sums (48 bits in TOSA)."""
    source, output = operand(WIDTHS[kind]), carrier(1.0, WIDTHS[target])
    requests, results = [], []
    for stride, padding, kernel in ((1, (1, 1, 1, 1), 3), (2, (0, 0, 1, 1), 3), (1, (0, 0, 0, 0), 1)):
        for fill in ("random", "low", "high"):
            x = codes(source.low, source.high, (2, 40, 8, 6), fill)
            weight = codes(-127, 127, (6, 40, kernel, kernel), fill, seed=1)
            factors = channel_factors(6)
            graph = TosaGraph()
            product, shape = graphs.conv2d(graph, x, weight, stride, padding, kind=kind)
            graphs.rescale(graph, product, (graphs.ACCUMULATORS[kind], target), shape, factors)
            requests.append(graph)
            node = conv_node(x, weight, stride, padding)
            results.append(whole_layer(node, x, source, weight, factors, output))
    for expected, result in zip(tosa.evaluate(requests), results, strict=True):
        assert np.array_equal(result, graphs.channels_first(expected))


@pytest.mark.parametrize("kind", ["INT8", "INT16"])
def test_whole_linear_layers(kind: str, tosa: TosaReference) -> None:
    """A linear layer is a convolution of one pixel; K = 8640."""
    source, output = operand(WIDTHS[kind]), carrier(1.0)
    requests, results = [], []
    for fill in ("random", "low", "high"):
        x, weight = codes(source.low, source.high, (5, 8640), fill), codes(-127, 127, (7, 8640), fill, seed=1)
        factors = channel_factors(7, more=4)
        graph = TosaGraph()
        product, shape = graphs.conv2d(
            graph, x[:, :, None, None], weight[:, :, None, None], 1, (0, 0, 0, 0), kind=kind
        )
        graphs.rescale(graph, product, (graphs.ACCUMULATORS[kind], "INT16"), shape, factors)
        requests.append(graph)
        results.append(whole_layer(linear_node(x, weight), x, source, weight, factors, output))
    for expected, result in zip(tosa.evaluate(requests), results, strict=True):
        assert np.array_equal(result, expected[:, 0, 0, :])
