"""Layers with every quantization option, made of a few numbers, and the codes that go through them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hqsim.graph import Node
from hqsim.numerics import Format, Transform
from hqsim.ops import WeightCodes
from hqsim.ops.segments import segments_of
from tests.ops.builders import carrier, make_codes, make_node, make_weight, prepare, transform_attributes


@dataclass(frozen=True)
class Layer:
    """A product, the formats and codes of its inputs, its weight and its result's format."""

    node: Node
    weight: WeightCodes
    sources: dict[str, Format]
    codes: list[np.ndarray]
    output: Format

    def arrays(self, **attributes: Any) -> tuple[Node, dict[str, np.ndarray]]:
        """Return the node with some attributes changed, and its parameters at timestep entry 1."""
        node = replace(self.node, attributes={**self.node.attributes, **attributes})
        formats = {**self.sources, "y": self.output}
        bias = np.linspace(-1, 1, self.weight.shape[0])
        return node, prepare(node, formats, parameters={"b": bias}, weights={"w": self.weight}, entry=1)


def make_layer(
    seed: int,
    *,
    op: str = "conv2d",
    transform: Transform | None = None,
    kind: str = "single",
    realisation: str = "runtime",
    bits: tuple[int, int] = (4, 4),
    symmetric: bool = True,
    spread: int = 0,
    sides: int = 1,
    groups: int = 1,
    group_size: int | None = None,
    fill: str = "random",
    accumulator: tuple[int | None, str] = (None, "wrap"),
) -> Layer:
    """Return a small layer: per side 4 to 16 channels, images of 4 x 8 pixels, kernels 3 x 2, or 3 rows."""
    rng = np.random.default_rng(seed)
    size = transform.size if transform and transform.axis == "channel" else 1
    depths = tuple(int(rng.integers(1, 3)) * max(size, 4) for _ in range(sides))
    outputs = groups * int(rng.integers(1, 4))
    channel_axis = 1 if op == "conv2d" else 2
    attributes = {
        "weight_bits": bits[1],
        "sides": depths,
        "group_size": group_size,
        "hadamard_kind": kind,
        "hadamard_realisation": realisation,
        "accumulator_bits": accumulator[0],
        "accumulator_overflow": accumulator[1],
        **transform_attributes(transform, channel_axis),
    }
    names = [f"x{side}" for side in range(sides)]
    parameters = {"weight": "w", "bias": "b"}
    if op == "conv2d":
        attributes |= {"kernel": (outputs, 3, 2), "stride": 1, "padding": (1, 0, 1, 1), "groups": groups}
        shapes = [(depth * groups, 4, 8) for depth in depths]
        node = make_node(op, (outputs, 4, 8), inputs=names, parameters=parameters, **attributes)
        weight_shape: tuple[int, ...] = (outputs, sum(depths), 3, 2)
    else:
        shapes = [(3, depth) for depth in depths]
        node = make_node(op, (3, outputs), inputs=names, parameters=parameters, outputs=outputs, **attributes)
        weight_shape = (outputs, sum(depths))
    segments = len(segments_of(node, sum(depths)))
    sources, codes = {}, []
    for name, shape in zip(names, shapes, strict=True):
        scales = tuple(2.0 ** rng.uniform(-4, -2, 2))
        source = Format(bits=bits[0], scales=scales)
        if not symmetric:
            zero_points = tuple(int(z) for z in rng.integers(0, 2 ** bits[0], 2))
            source = replace(source, signed=False, zero_points=zero_points)
        elif bits[0] < 16:
            source = replace(source, exponents=(spread,))
        sources[name] = source
        codes.append(make_codes(rng, source, (2, *shape), fill))
    return Layer(node, make_weight(rng, weight_shape, bits[1], segments), sources, codes, carrier(2.0**-6))
