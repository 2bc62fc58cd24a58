"""Small nodes, formats and codes, and the one way to run both forms of an operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from hqsim.graph import Node, TensorType
from hqsim.numerics import Format, Transform
from hqsim.ops import OPERATORS, Preparation, WeightCodes

FILLS = ("random", "low", "high", "ends")


def make_node(
    op: str,
    shape: Sequence[int],
    *,
    inputs: Sequence[str] = ("x",),
    parameters: Mapping[str, str] = MappingProxyType({}),
    **attributes: Any,
) -> Node:
    """Return the node ``y``."""
    return Node("y", op, tuple(inputs), TensorType(tuple(shape)), attributes, parameters)


def carrier(scale: float, bits: int = 16) -> Format:
    return Format(bits=bits, scales=(scale,))


def transform_attributes(transform: Transform | None, channel_axis: int) -> dict[str, Any]:
    """The attributes that lowering gives a quantizer and the product after it."""
    return {
        "channel_axis": channel_axis,
        "hadamard_axis": transform.axis if transform else "channel",
        "hadamard_order": transform.order if transform else 0,
        "hadamard_signs": bool(transform and transform.signs),
    }


def make_weight(
    rng: np.random.Generator, shape: tuple[int, ...], bits: int, segments: int = 1
) -> WeightCodes:
    """Random weights of ``bits``, the restricted extremes among them, scales around 2**-8."""
    high = 2 ** (bits - 1) - 1
    codes = rng.integers(-high, high + 1, shape).astype(np.int8)
    codes.flat[0], codes.flat[-1] = -high, high
    return WeightCodes.of(codes, 2.0 ** rng.uniform(-10, -6, (shape[0], segments)), bits)


def prepare(
    node: Node,
    formats: Mapping[str, Format],
    *,
    parameters: Mapping[str, np.ndarray] = MappingProxyType({}),
    weights: Mapping[str, WeightCodes] = MappingProxyType({}),
    entry: int = 0,
) -> dict[str, np.ndarray]:
    """Prepare the node and take one entry of its timestep tables, as the executors do."""
    arrays = OPERATORS[node.op].prepare(node, Preparation(formats, parameters, weights))
    per_step = OPERATORS[node.op].per_step
    return {
        name: array[min(entry, len(array) - 1)] if name in per_step else array
        for name, array in arrays.items()
    }


def run_both(
    node: Node, arrays: Mapping[str, np.ndarray], inputs: Sequence[np.ndarray], output: Format
) -> tuple[np.ndarray, int]:
    """Return the codes and the saturation count after asserting that both forms agree on them."""
    operator = OPERATORS[node.op]
    codes, saturated = operator.integer(node, arrays, inputs, output)
    exact_codes, exact_saturated = operator.exact(node, arrays, inputs, output)
    assert codes.shape == exact_codes.shape == (len(inputs[0]), *node.type.shape)
    assert np.array_equal(codes, exact_codes)
    assert saturated == exact_saturated
    assert codes.dtype == exact_codes.dtype == output.dtype
    assert codes.min(initial=0) >= output.low
    assert codes.max(initial=0) <= output.high
    return codes, saturated


def make_codes(rng: np.random.Generator, source: Format, shape: Sequence[int], fill: str) -> np.ndarray:
    """Return codes of a format: random, all at one end, or at both ends by chance."""
    if fill == "ends":
        codes = rng.choice([source.low, source.high], tuple(shape))
    elif fill == "random":
        codes = rng.integers(source.low, source.high + 1, tuple(shape))
    else:
        codes = np.full(tuple(shape), getattr(source, fill))
    return codes.astype(source.dtype)


def sqnr_db(reference: np.ndarray, value: np.ndarray) -> float:
    """``10 log10(sum x^2 / sum (x - y)^2)``."""
    return float(10 * np.log10(np.square(reference).sum() / np.square(reference - value).sum()))


def full_scale(values: np.ndarray, bits: int = 16) -> Format:
    """The carrier whose largest code is the largest magnitude of ``values``."""
    return carrier(float(np.abs(values).max()) / (2 ** (bits - 1) - 1), bits)
