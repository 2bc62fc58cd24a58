"""Integer form == exact form, codes and saturation counts, on random and extreme codes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.numerics import Format, Transform
from hqsim.ops import OPERATORS, WeightCodes
from tests.ops.builders import (
    FILLS,
    carrier,
    make_codes,
    make_node,
    make_weight,
    prepare,
    run_both,
    transform_attributes,
)

SEEDS = st.integers(0, 2**32)
FILL = st.sampled_from(FILLS)
SMALL = st.integers(1, 5)
CARRIER_BITS = st.sampled_from([12, 16])
OPERAND_BITS = st.integers(2, 8)
RATIOS = st.floats(-6, 6).map(lambda exponent: 2.0**exponent)
TRANSFORMS = st.none() | st.builds(
    Transform, st.sampled_from(["width", "channel"]), st.integers(1, 3), st.booleans()
)
ALONG_CHANNELS = st.none() | st.builds(Transform, st.just("channel"), st.integers(1, 3), st.booleans())


def axis_length(transform: Transform | None, axis: str, blocks: int) -> int:
    return blocks * transform.size if transform and transform.axis == axis else blocks


@given(SEEDS, SMALL, SMALL, SMALL, TRANSFORMS, OPERAND_BITS, FILL, st.floats(-14, 2), st.booleans())
def test_quantize(seed, channels, height, width, transform, bits, fill, log_ratio, unsigned) -> None:
    rng = np.random.default_rng(seed)
    shape = (axis_length(transform, "channel", channels), height, axis_length(transform, "width", width))
    source = Format(bits=16, scales=(0.01,), signed=not unsigned)
    target = Format(bits=bits, scales=(1.0, 0.01 / 2.0**log_ratio), signed=not unsigned)
    node = make_node("quantize", shape, bits=bits, **transform_attributes(transform, 1))
    x = make_codes(rng, source, (2, *shape), fill)
    for entry in (0, 1):
        arrays = prepare(node, {"x": source, "y": target}, entry=entry)
        run_both(node, arrays, [x], target)


@given(SEEDS, SMALL, st.booleans(), ALONG_CHANNELS, OPERAND_BITS, FILL, st.floats(-14, 2), st.data())
def test_quantize_with_exponents(seed, blocks, image, transform, bits, fill, log_ratio, data) -> None:
    rng = np.random.default_rng(seed)
    channels = axis_length(transform, "channel", blocks)
    exponents = data.draw(st.tuples(*[st.integers(0, 3)] * channels))
    shape, axis = ((channels, 3, 2), 1) if image else ((5, channels), 2)
    source = Format(bits=16, scales=(0.01,))
    target = Format(bits=bits, scales=(1.0, 0.01 / 2.0**log_ratio), exponents=exponents)
    node = make_node("quantize", shape, bits=bits, **transform_attributes(transform, axis))
    x = make_codes(rng, source, (2, *shape), fill)
    if image and data.draw(st.booleans()):
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for entry in (0, 1):
        arrays = prepare(node, {"x": source, "y": target}, entry=entry)
        codes, _ = run_both(node, arrays, [x], target)
        by_channel = np.moveaxis(codes.astype(np.int64), axis, -1)
        assert not (by_channel % 2 ** np.array(exponents)).any()
        kept = by_channel >> np.array(exponents)
        assert kept.min() >= -(2 ** (bits - 1))
        assert kept.max() < 2 ** (bits - 1)


@given(
    SEEDS,
    SMALL,
    SMALL,
    st.tuples(SMALL, SMALL),
    TRANSFORMS,
    st.tuples(OPERAND_BITS, OPERAND_BITS),
    FILL,
    st.floats(-20, 3),
    st.data(),
)
def test_conv2d(seed, channels, outputs, image, transform, bits, fill, log_ratio, data) -> None:
    rng = np.random.default_rng(seed)
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = data.draw(st.integers(1, 2))
    padding = data.draw(st.tuples(*[st.integers(0, 2)] * 4))
    channels = axis_length(transform, "channel", channels)
    height = max(image[0], kernel[0])
    width = axis_length(transform, "width", max(image[1], kernel[1]))
    top, left, bottom, right = padding
    shape = (
        outputs,
        (height + top + bottom - kernel[0]) // stride + 1,
        (width + left + right - kernel[1]) // stride + 1,
    )
    node = make_node(
        "conv2d",
        shape,
        parameters={"weight": "w", "bias": "b"},
        kernel=(outputs, *kernel),
        stride=stride,
        padding=padding,
        weight_bits=bits[1],
        **transform_attributes(transform, 1),
    )
    weight = make_weight(rng, (outputs, channels, *kernel), bits[1])
    check_layer(rng, node, weight, (channels, height, width), bits[0], fill, log_ratio)


@given(
    SEEDS,
    SMALL,
    SMALL,
    st.none() | SMALL,
    ALONG_CHANNELS,
    st.tuples(OPERAND_BITS, OPERAND_BITS),
    FILL,
    st.floats(-20, 3),
)
def test_linear(seed, blocks, outputs, rows, transform, bits, fill, log_ratio) -> None:
    rng = np.random.default_rng(seed)
    length = axis_length(transform, "channel", blocks)
    leading = () if rows is None else (rows,)
    node = make_node(
        "linear",
        (*leading, outputs),
        parameters={"weight": "w", "bias": "b"},
        outputs=outputs,
        weight_bits=bits[1],
        **transform_attributes(transform, len(leading) + 1),
    )
    weight = make_weight(rng, (outputs, length), bits[1])
    check_layer(rng, node, weight, (*leading, length), bits[0], fill, log_ratio)


def check_layer(rng, node, weight, input_shape, bits, fill, log_ratio) -> None:
    """Two entries of the timestep table, narrow and wide sums."""
    source = Format(bits=bits, scales=(0.5, 0.3))
    target = carrier(0.5 * 2.0**-8 / 2.0**log_ratio)
    bias = rng.uniform(-2, 2, len(weight.scales)) * target.scale * 2.0**14
    x = make_codes(rng, source, (2, *input_shape), fill)
    for entry in (0, 1):
        formats = {"x": source, "y": target}
        arrays = prepare(node, formats, parameters={"b": bias}, weights={"w": weight}, entry=entry)
        assert not arrays["wide"][0]
        codes, _ = run_both(node, arrays, [x], target)
        wide, _ = run_both(node, arrays | {"wide": np.array([1])}, [x], target)
        assert np.array_equal(codes, wide)


def test_w8a8_order_5_over_8640_takes_the_wide_sums() -> None:
    """NUMERICS.md section 4: here int32 cannot be proved safe."""
    rng = np.random.default_rng(0)
    transform = Transform("channel", 5, True)
    node = make_node(
        "linear",
        (2,),
        parameters={"weight": "w"},
        outputs=2,
        weight_bits=8,
        **transform_attributes(transform, 1),
    )
    weight = WeightCodes.of(np.full((2, 8640), 127, np.int8), np.full(2, 2.0**-8), 8)
    source, target = Format(bits=8, scales=(0.01,)), carrier(0.2)
    arrays = prepare(node, {"x": source, "y": target}, weights={"w": weight})
    assert arrays["wide"][0]
    for fill in FILLS:
        run_both(node, arrays, [make_codes(rng, source, (2, 8640), fill)], target)


@given(
    SEEDS,
    st.tuples(SMALL, SMALL, SMALL, SMALL),
    st.booleans(),
    st.booleans(),
    OPERAND_BITS,
    FILL,
    st.floats(-20, 0),
)
def test_matmul(seed, sizes, transpose, probabilities, bits, fill, log_ratio) -> None:
    rng = np.random.default_rng(seed)
    heads, m, k, n = sizes
    a = Format(bits=bits, scales=(0.1, 0.2), signed=not probabilities)
    b = Format(bits=bits, scales=(0.3, 0.4))
    target = carrier(0.1 * 0.3 / 2.0**log_ratio)
    node = make_node(
        "matmul", (heads, m, n), inputs=("a", "b"), transpose_b=transpose, factor=0.125, reduction=k
    )
    left = make_codes(rng, a, (2, heads, m, k), fill)
    right = make_codes(rng, b, (2, heads, *((n, k) if transpose else (k, n))), fill)
    for entry in (0, 1):
        arrays = prepare(node, {"a": a, "b": b, "y": target}, entry=entry)
        run_both(node, arrays, [left, right], target)
        run_both(node, arrays | {"wide": np.array([1])}, [left, right], target)


@given(SEEDS, st.tuples(SMALL, SMALL, SMALL), CARRIER_BITS, RATIOS, RATIOS, st.booleans(), FILL)
def test_add(seed, shape, bits, ratio_a, ratio_b, per_channel, fill) -> None:
    rng = np.random.default_rng(seed)
    a, b, target = carrier(ratio_a, bits), carrier(ratio_b, bits), carrier(1.0, bits)
    node = make_node("add", shape, inputs=("a", "b"))
    arrays = prepare(node, {"a": a, "b": b, "y": target})
    other = (2, shape[0], 1, 1) if per_channel else (2, *shape)
    run_both(node, arrays, [make_codes(rng, a, (2, *shape), fill), make_codes(rng, b, other, fill)], target)


@given(
    SEEDS, st.tuples(SMALL, SMALL, SMALL), st.integers(1, 3), st.lists(RATIOS, min_size=2, max_size=3), FILL
)
def test_concat(seed, shape, axis, scales, fill) -> None:
    rng = np.random.default_rng(seed)
    names = [f"x{i}" for i in range(len(scales))]
    formats = {name: carrier(scale) for name, scale in zip(names, scales, strict=True)}
    joined = list(shape)
    joined[axis - 1] *= len(scales)
    node = make_node("concat", joined, inputs=names, axis=axis)
    target = OPERATORS["concat"].output_format(node, list(formats.values()), carrier(123.0))
    assert target == carrier(max(scales))
    arrays = prepare(node, formats | {"y": target})
    inputs = [make_codes(rng, formats[name], (2, *shape), fill) for name in names]
    codes, saturated = run_both(node, arrays, inputs, target)
    assert saturated == 0
    sides = np.split(codes, len(scales), axis)
    largest = scales.index(max(scales))
    assert np.array_equal(sides[largest], inputs[largest])


@given(
    SEEDS,
    st.tuples(SMALL, SMALL, SMALL),
    st.integers(1, 3),
    CARRIER_BITS,
    st.floats(-18, 3),
    st.floats(-4, 4),
    FILL,
)
def test_group_norm(seed, shape, groups, bits, log_scale, log_gain, fill) -> None:
    rng = np.random.default_rng(seed)
    channels = shape[0] * groups
    source, target = carrier(2.0**log_scale, bits), carrier(2.0**-12, bits)
    node = make_node(
        "group_norm", (channels, *shape[1:]), parameters={"weight": "g", "bias": "b"}, groups=groups, eps=1e-5
    )
    parameters = {"g": rng.normal(0, 2.0**log_gain, channels), "b": rng.normal(0, 1, channels)}
    arrays = prepare(node, {"x": source, "y": target}, parameters=parameters)
    run_both(node, arrays, [make_codes(rng, source, (2, channels, *shape[1:]), fill)], target)


@given(SEEDS, st.integers(1, 40), CARRIER_BITS, st.floats(-16, -2), st.floats(-6, 3), FILL)
def test_silu(seed, length, bits, log_scale, log_ratio, fill) -> None:
    rng = np.random.default_rng(seed)
    source, target = carrier(2.0**log_scale, bits), carrier(2.0 ** (log_scale - log_ratio), bits)
    node = make_node("silu", (length,))
    arrays = prepare(node, {"x": source, "y": target})
    run_both(node, arrays, [make_codes(rng, source, (2, length), fill)], target)


@given(SEEDS, st.tuples(SMALL, SMALL, st.integers(1, 40)), CARRIER_BITS, st.floats(-16, 0), FILL)
def test_softmax(seed, shape, bits, log_scale, fill) -> None:
    rng = np.random.default_rng(seed)
    source = carrier(2.0**log_scale, bits)
    node = make_node("softmax", shape)
    target = OPERATORS["softmax"].output_format(node, [source], source)
    arrays = prepare(node, {"x": source, "y": target})
    run_both(node, arrays, [make_codes(rng, source, (2, *shape), fill)], target)


@given(SEEDS, st.tuples(SMALL, SMALL, SMALL), st.floats(-12, 4), FILL)
def test_rescale_of_the_sample(seed, shape, log_ratio, fill) -> None:
    rng = np.random.default_rng(seed)
    source, target = carrier(2.0**-20, 24), carrier(2.0 ** (-20 - log_ratio))
    node = make_node("rescale", shape)
    arrays = prepare(node, {"x": source, "y": target})
    run_both(node, arrays, [make_codes(rng, source, (2, *shape), fill)], target)


@pytest.mark.parametrize("fill", FILLS)
def test_everything_at_the_ends_really_saturates_somewhere(fill: str) -> None:
    """The property tests would be weak if nothing ever clipped."""
    rng = np.random.default_rng(0)
    source, target = carrier(1.0), carrier(0.5)
    node = make_node("rescale", (64,))
    arrays = prepare(node, {"x": source, "y": target})
    x = make_codes(rng, source, (2, 64), fill)
    codes, saturated = run_both(node, arrays, [x], target)
    doubled = 2 * x.astype(int)
    assert saturated == np.count_nonzero((doubled < -32768) | (doubled > 32767)) > 0
    assert np.array_equal(codes, doubled.clip(-32768, 32767))
