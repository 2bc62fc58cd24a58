"""The TOSA graphs that several tests use; arrays come in hqsim's order of axes, channels first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.oracle.layers import Padding
from tests.oracle.tosa.reference import TosaGraph

ACCUMULATORS = {"INT8": "INT32", "INT16": "INT48"}
"""What TOSA sums products of a type with 8-bit weights (or with the same type) in."""


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1)


def rescale(
    graph: TosaGraph,
    source: str | int,
    kinds: tuple[str, str],
    shape: Sequence[int],
    factors: tuple[Sequence[int], Sequence[int]],
    *,
    scale32: bool = False,
) -> int:
    """RESCALE, single round, from one type to the other by ``(multipliers, shifts)``, one or one per channel.

    TOSA has two forms: multipliers of 16 and of 32 bits.
    """
    multiplier, shift = factors
    return graph.add(
        "RESCALE",
        [
            source,
            graph.constant(multiplier, "INT32" if scale32 else "INT16"),
            graph.constant(shift, "INT8"),
            graph.constant([0], kinds[0]),
            graph.constant([0], kinds[1]),
        ],
        shape,
        kinds[1],
        "RescaleAttribute",
        scale32,
        "SINGLE_ROUND",
        len(multiplier) > 1,
        False,
        False,
    )


def conv2d(
    graph: TosaGraph,
    x: np.ndarray,
    weight: np.ndarray,
    stride: int,
    padding: Padding,
    *,
    kind: str = "INT8",
    zero_point: int = 0,
) -> tuple[int, list[int]]:
    """CONV2D of ``x [b, c, h, w]`` and ``weight [o, c, kh, kw]`` of 8 bits: the operator and its shape."""
    outputs, _, kh, kw = weight.shape
    top, left, bottom, right = padding
    shape = [
        len(x),
        (x.shape[2] + top + bottom - kh) // stride + 1,
        (x.shape[3] + left + right - kw) // stride + 1,
        outputs,
    ]
    sums = ACCUMULATORS[kind]
    inputs = [
        graph.tensor(channels_last(x), kind),
        graph.tensor(channels_last(weight), "INT8"),
        graph.constant(np.zeros(outputs, int), sums),
        graph.constant([zero_point], kind),
        graph.constant([0], "INT8"),
    ]
    attribute = ("Conv2dAttribute", [top, bottom, left, right], [stride, stride], [1, 1], False, sums)
    return graph.add("CONV2D", inputs, shape, sums, *attribute), shape


def matmul(graph: TosaGraph, a: np.ndarray, b: np.ndarray, *, kind: str = "INT8") -> tuple[int, list[int]]:
    """MATMUL of ``a [n, h, c]`` and ``b [n, c, w]``: the operator and its shape."""
    shape = [*a.shape[:2], b.shape[2]]
    inputs = [
        graph.tensor(a, kind),
        graph.tensor(b, kind),
        graph.constant([0], kind),
        graph.constant([0], kind),
    ]
    return graph.add("MATMUL", inputs, shape, ACCUMULATORS[kind], "MatMulAttribute"), shape
