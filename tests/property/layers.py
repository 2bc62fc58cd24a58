"""Random quantizers and products with every option that lowering can give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from hqsim.numerics import Format, Transform
from hqsim.ops import WeightCodes
from tests.ops.builders import carrier, transform_attributes
from tests.property.cases import ENTRIES, Case, Shape, build, cases_of, power, random_of, shape_of

OPERAND_BITS = st.integers(2, 8) | st.just(16)
LONGEST_BLOCK_ORDER = 4
"""Orders 5 and 6 would make every case large; tests/oracle/test_multiply.py has them."""


def operand_of(draw: st.DrawFn) -> Format:
    """Draw an operand's format: symmetric, or with zero-points; scales that change with the timestep."""
    bits = draw(OPERAND_BITS)
    scales = tuple(power(draw, -2, 2) for _ in range(ENTRIES))
    if draw(st.booleans()):
        return Format(bits=bits, scales=scales)
    codes = st.integers(0, 2**bits - 1) | st.sampled_from([0, 2**bits - 1])
    zero_points = tuple(draw(codes) for _ in range(ENTRIES))
    return Format(bits=bits, scales=scales, signed=False, zero_points=zero_points)


def transform_of(draw: st.DrawFn, axes: list[str]) -> Transform | None:
    """Draw a transform along one of the axes, or none."""
    order = draw(st.integers(0, LONGEST_BLOCK_ORDER))
    return Transform(draw(st.sampled_from(axes)), order, draw(st.booleans())) if order else None


@cases_of("quantize")
def quantize(draw, length):
    shape = list(shape_of(draw, length))
    is_image = len(shape) == 3
    transform = transform_of(draw, ["width", "channel"] if is_image else ["channel"])
    channel_axis = 1 if is_image else len(shape)
    if transform:
        shape[channel_axis - 1 if transform.axis == "channel" else -1] <<= transform.order
    output = operand_of(draw)
    grown = 2.0 ** (transform.order if transform else 0)
    source = carrier(power(draw, -14, 2) / grown, draw(st.sampled_from([8, 12, 16])))
    return build(
        draw,
        "quantize",
        {"x": (source, tuple(shape))},
        output=output,
        symmetric=output.signed,
        **transform_attributes(transform, channel_axis),
    )


def accumulator_of(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the accumulator: exact sums, or so few bits that it overflows."""
    overflow = draw(st.sampled_from([None, "wrap", "saturate"]))
    return {
        "accumulator_bits": overflow and draw(st.integers(6, 24)),
        "accumulator_overflow": overflow or "wrap",
    }


@dataclass(frozen=True)
class Reduction:
    """How a layer reads its input channels: channels per side (of one group), the options that cut them."""

    sides: tuple[int, ...]
    transform: Transform | None
    attributes: dict[str, Any]
    segments: int


def reduction_of(draw: st.DrawFn, length: int, axes: list[str], *, may_split: bool) -> Reduction:
    """Draw sides, groups of weights, the transform and its realisation, as far as they exist together."""
    transform = transform_of(draw, axes)
    along_channels = transform is not None and transform.axis == "channel"
    block = transform.size if transform and along_channels else 1
    count = draw(st.integers(1, 2)) if may_split else 1
    sides = tuple(block * draw(st.integers(1, length)) for _ in range(count))
    size = draw(st.none() | st.integers(1, max(sides)))
    forms = ["runtime", "parity"]
    if along_channels and (size is None or size >= max(sides) or size % block == 0):
        forms.append("fold")
    kind = draw(st.sampled_from(["single", "double"])) if along_channels else "single"
    attributes = {
        "sides": sides,
        "group_size": size,
        "hadamard_kind": kind,
        "hadamard_realisation": draw(st.sampled_from(forms)) if kind == "single" else "runtime",
        **accumulator_of(draw),
    }
    longest = size or max(sides)
    return Reduction(sides, transform, attributes, sum(-(-side // longest) for side in sides))


def layer(
    draw: st.DrawFn,
    op: str,
    shapes: list[Shape],
    weight_shape: Shape,
    reduction: Reduction,
    channel_axis: int,
    **attributes: Any,
) -> Case:
    """Return a layer with random weights and a bias, in a carrier that suits its sums or is far too small."""
    rng, bits = random_of(draw), draw(st.integers(2, 8))
    high = 2 ** (bits - 1) - 1
    values = rng.integers(-high, high + 1, weight_shape)
    if draw(st.booleans()):
        values[:] = np.where(values < 0, -high, high)
    scales = 2.0 ** rng.uniform(-10, -6, (weight_shape[0], reduction.segments))
    first = operand_of(draw)
    others = [Format(first.bits, (0.7, 0.4), first.signed, zero_points=first.zero_points)]
    sources = dict(zip("xz", zip([first, *others], shapes, strict=False), strict=False))
    output = carrier(power(draw, -9, 14), draw(st.sampled_from([8, 12, 16])))
    return build(
        draw,
        op,
        sources,
        output=output,
        parameters={"b": rng.uniform(-1, 1, weight_shape[0]) * output.scale * 2.0**output.bits},
        roles={"weight": "w", "bias": "b"},
        weights={"w": WeightCodes.of(values.astype(np.int8), scales, bits)},
        weight_bits=bits,
        **reduction.attributes,
        **transform_attributes_of(reduction, channel_axis),
        **attributes,
    )


def transform_attributes_of(reduction: Reduction, channel_axis: int) -> dict[str, Any]:
    """The attributes of the transform that do not say how it is realised."""
    return {
        key: value
        for key, value in transform_attributes(reduction.transform, channel_axis).items()
        if key not in reduction.attributes
    }


@cases_of("linear")
def linear(draw, length):
    reduction = reduction_of(draw, length, ["channel"], may_split=True)
    leading = draw(st.sampled_from([(), (draw(st.integers(1, length)),)]))
    outputs = draw(st.integers(1, length))
    shapes = [(*leading, channels) for channels in reduction.sides]
    weight_shape = (outputs, sum(reduction.sides))
    axis = len(leading) + 1
    return layer(draw, "linear", shapes, weight_shape, reduction, axis, outputs=outputs)


@cases_of("conv2d")
def conv2d(draw, length):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    reduction = reduction_of(draw, min(length, 6), ["width", "channel"], may_split=groups == 1)
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    height, width = (max(draw(st.integers(1, length)), size) for size in kernel)
    if reduction.transform and reduction.transform.axis == "width":
        width <<= reduction.transform.order
    outputs = groups * draw(st.integers(1, max(1, length // groups)))
    shapes = [(groups * channels, height, width) for channels in reduction.sides]
    return layer(
        draw,
        "conv2d",
        shapes,
        (outputs, sum(reduction.sides), *kernel),
        reduction,
        1,
        kernel=(outputs, *kernel),
        stride=draw(st.integers(1, 3)),
        padding=padding,
        groups=groups,
    )


@cases_of("matmul")
def matmul(draw, length):
    heads, m, k, n = shape_of(draw, length, axes=4)
    transpose = draw(st.booleans())
    sources = {
        "a": (operand_of(draw), (heads, m, k)),
        "b": (operand_of(draw), (heads, *((n, k) if transpose else (k, n)))),
    }
    return build(
        draw,
        "matmul",
        sources,
        output=carrier(power(draw, -9, 14), draw(st.sampled_from([8, 12, 16]))),
        transpose_b=transpose,
        factor=power(draw, -4, 0),
        reduction=k,
        **accumulator_of(draw),
    )
