"""Every quantization option of a layer: integer == exact, realisations alike, the real layer's value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hqsim.numerics import Format, Transform
from hqsim.ops import OPERATORS, Preparation, WeightCodes
from tests import naive
from tests.ops.builders import FILLS, carrier, make_node, prepare, run_both, transform_attributes
from tests.ops.options import make_layer

SEEDS = st.integers(0, 2**32)
FILL = st.sampled_from(FILLS)
OPS = st.sampled_from(["conv2d", "linear"])
CHANNEL = st.builds(Transform, st.just("channel"), st.integers(1, 4), st.booleans())
WIDTH = st.builds(Transform, st.just("width"), st.integers(1, 3), st.booleans())
ACTIVATION_BITS = st.sampled_from([2, 3, 4, 5, 6, 7, 8, 16])
ACCUMULATORS = st.sampled_from([(None, "wrap"), (8, "wrap"), (12, "saturate"), (9, "saturate"), (20, "wrap")])
OPTIONS = {
    "bits": st.tuples(ACTIVATION_BITS, st.integers(2, 8)),
    "symmetric": st.booleans(),
    "spread": st.sampled_from([0, 0, 1, 3]),
    "group_size": st.sampled_from([None, 2, 3, 8]),
    "fill": FILL,
    "accumulator": ACCUMULATORS,
}


@given(SEEDS, OPS, st.none() | CHANNEL, st.integers(1, 3), st.sampled_from(["single", "double"]), st.data())
def test_layers_along_channels(seed, op, transform, sides, kind, data) -> None:
    options = {name: data.draw(strategy) for name, strategy in OPTIONS.items()}
    options["accumulator"] = data.draw(ACCUMULATORS)
    realisation = data.draw(st.sampled_from(["runtime", "parity"])) if kind == "single" else "runtime"
    layer = make_layer(
        seed, op=op, transform=transform, sides=sides, kind=kind, realisation=realisation, **options
    )
    check(layer)


@given(SEEDS, WIDTH, st.sampled_from(["runtime", "parity"]), st.data())
def test_convolutions_along_the_width(seed, transform, realisation, data) -> None:
    options = {name: data.draw(strategy) for name, strategy in OPTIONS.items()}
    check(make_layer(seed, transform=transform, realisation=realisation, **options))


@given(SEEDS, st.none() | CHANNEL, st.integers(2, 4), st.data())
def test_grouped_convolutions(seed, transform, groups, data) -> None:
    options = {name: data.draw(strategy) for name, strategy in OPTIONS.items()}
    check(make_layer(seed, transform=transform, groups=groups, **options))


@given(SEEDS, OPS, CHANNEL, st.integers(1, 2), st.data())
def test_folded_layers(seed, op, transform, sides, data) -> None:
    """Groups of whole blocks."""
    options = {name: data.draw(strategy) for name, strategy in OPTIONS.items()}
    options["group_size"] = data.draw(st.sampled_from([None, transform.size]))
    if transform.order == 0:
        options["group_size"] = None
    check(make_layer(seed, op=op, transform=transform, sides=sides, realisation="fold", **options))


def check(layer) -> None:
    node, arrays = layer.arrays()
    operator = OPERATORS[node.op]
    sums, events = operator.sums_integer(node, arrays, layer.codes)
    exact, exact_events = operator.sums_exact(node, arrays, layer.codes)
    assert np.array_equal(sums, exact)
    assert events == exact_events
    run_both(node, arrays, layer.codes, layer.output)
    if node.attributes["accumulator_bits"] is None:
        bound = operator.bound(node, arrays, list(layer.sources.values()))
        assert np.abs(sums).max(initial=0) <= bound.magnitude
        assert events == 0


@given(SEEDS, OPS, CHANNEL, st.booleans(), st.tuples(ACTIVATION_BITS, st.integers(2, 8)), FILL)
def test_realisations_give_the_same_sums(seed, op, transform, symmetric, bits, fill) -> None:
    """Run-time inverse, folded weights, parity: of the same codes and weights."""
    layer = make_layer(seed, op=op, transform=transform, symmetric=symmetric, bits=bits, fill=fill, sides=2)
    results = []
    for realisation in ("runtime", "fold", "parity"):
        node, arrays = layer.arrays(hadamard_realisation=realisation)
        sums, _ = OPERATORS[op].sums_integer(node, arrays, layer.codes)
        results.append((sums, *run_both(node, arrays, layer.codes, layer.output)))
    for sums, codes, saturated in results[1:]:
        assert np.array_equal(sums, results[0][0])
        assert np.array_equal(codes, results[0][1])
        assert saturated == results[0][2]


@pytest.mark.parametrize("kind", ["single", "double"])
@pytest.mark.parametrize("op", ["conv2d", "linear"])
@pytest.mark.parametrize("transform", [None, Transform("channel", 2, True)])
@pytest.mark.parametrize(("symmetric", "stepped"), [(True, False), (False, False), (True, True)])
def test_a_layer_is_the_product_of_the_dequantized_operands(op, kind, transform, symmetric, stepped) -> None:
    """Sides, groups, zero-points and scales per timestep together: the float layer on what the codes are."""
    layer = make_layer(
        5, op=op, transform=transform, kind=kind, symmetric=symmetric, sides=2, group_size=4, bits=(5, 6)
    )
    if stepped:
        layer = with_stepped_scales(layer)
    node, arrays = layer.arrays()
    quantizer, operator = OPERATORS["quantize"], OPERATORS[op]
    real = [
        quantizer.dequantized(
            make_node("quantize", (), **node.attributes),
            torch.from_numpy(codes.astype(np.float64)),
            source,
            1,
        )
        for codes, source in zip(layer.codes, layer.sources.values(), strict=True)
    ]
    parameters = {
        "w": torch.from_numpy(operator.real_weight(node, layer.weight, 1)),
        "b": torch.linspace(-1, 1, layer.weight.shape[0], dtype=torch.float64),
    }
    ideal = operator.evaluate(node, real, parameters).numpy() / layer.output.scale
    codes, saturated = run_both(node, arrays, layer.codes, layer.output)
    assert saturated == 0
    assert (np.abs(codes - ideal) <= 0.5 + 2.0**-7 + np.abs(ideal).max() * 2**-12).all()


def with_stepped_scales(layer):
    """Return the layer with scales of its weight that are 4/5 of themselves at entry 1 (segment 0: half)."""
    shares = np.where(np.arange(layer.weight.scales.shape[1]) == 0, 0.5, 0.8)
    table = np.stack([layer.weight.scales, layer.weight.scales * shares])
    return replace(layer, weight=replace(layer.weight, scales=table))


def linear(transform: Transform | None = None, **attributes):
    return make_node(
        "linear",
        (1,),
        parameters={"weight": "w"},
        outputs=1,
        **attributes,
        **transform_attributes(transform, 1),
    )


def weight_row(*codes: int, scales: tuple[float, ...] = (1.0,)) -> WeightCodes:
    return WeightCodes.of(np.array([codes], np.int8), np.array([scales]), 4)


def test_a_zero_point_by_hand() -> None:
    """q = (0, 3, 15), z = 3, w = (1, -2, 4): -3 * 1 + 0 * -2 + 12 * 4 = 45."""
    source = Format(bits=4, scales=(0.5,), signed=False, zero_points=(3,))
    arrays = prepare(linear(), {"x": source, "y": carrier(0.5)}, weights={"w": weight_row(1, -2, 4)})
    x = np.array([[0, 3, 15]], np.int8)
    codes, _ = run_both(linear(), arrays, [x], carrier(0.5))
    assert codes.tolist() == [[45]]
    assert arrays["zero_points"].tolist() == [3]
    assert arrays["operand_range"].tolist() == [[-3, 12]]


def test_zero_padding_is_real_zero() -> None:
    """A convolution of codes that all equal the zero-point gives 0 at the borders too."""
    source = Format(bits=4, scales=(1.0,), signed=False, zero_points=(9,))
    weight = WeightCodes.of(np.ones((1, 1, 3, 3), np.int8), np.ones((1, 1)), 4)
    node = make_node(
        "conv2d",
        (1, 3, 3),
        parameters={"weight": "w"},
        kernel=(1, 3, 3),
        stride=1,
        padding=(1, 1, 1, 1),
        **transform_attributes(None, 1),
    )
    arrays = prepare(node, {"x": source, "y": carrier(1.0)}, weights={"w": weight})
    x = np.full((1, 1, 3, 3), 9, np.int8)
    x[0, 0, 0, 0] = 10
    codes, _ = run_both(node, arrays, [x], carrier(1.0))
    assert codes[0, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_behind_a_transform_a_zero_point_touches_one_element_of_a_block() -> None:
    """q = (7, 7, 7, 7), z = 5: q H = (28, 0, 0, 0), less 4 * 5 in element 0."""
    source = Format(bits=4, scales=(1.0,), signed=False, zero_points=(5,))
    transform = Transform("channel", 2, False)
    for row, expected in (((1, 0, 0, 0), 8), ((0, 1, 1, 1), 0)):
        node = linear(transform)
        arrays = prepare(node, {"x": source, "y": carrier(0.25)}, weights={"w": weight_row(*row)})
        codes, _ = run_both(node, arrays, [np.full((1, 4), 7, np.int8)], carrier(0.25))
        assert codes.tolist() == [[expected]]


@pytest.mark.parametrize(("value", "code"), [(-8, 0), (-3, 2), (0, 5), (1, 6), (10, 15), (11, 15)])
def test_quantizing_adds_the_zero_point_before_the_clamp(value: int, code: int) -> None:
    target = Format(bits=4, scales=(1.0,), signed=False, zero_points=(5,))
    node = make_node("quantize", (1,), **transform_attributes(None, 1))
    arrays = prepare(node, {"x": carrier(1.0), "y": target})
    codes, saturated = run_both(node, arrays, [np.array([[value]], np.int16)], target)
    assert codes.tolist() == [[code]]
    assert saturated == (value < -5 or value > 10)


def test_groups_of_weights_by_hand() -> None:
    """(3 * 1 + 2 * 2) * 1/2 + (5 * 1) * 1/8 = 4.125, in steps of 1/4: 16.5, rounded up once."""
    node = linear(group_size=2)
    weight = weight_row(1, 2, 1, scales=(0.5, 0.125))
    output = carrier(0.25)
    arrays = prepare(node, {"x": Format(bits=4, scales=(1.0,)), "y": output}, weights={"w": weight})
    x = np.array([[3, 2, 5]], np.int8)
    assert OPERATORS["linear"].sums_integer(node, arrays, [x])[0].ravel().tolist() == [7, 5]
    codes, _ = run_both(node, arrays, [x], output)
    assert codes.tolist() == [[17]]
    assert arrays["multiplier"].ravel().tolist() == [2**14, 2**12]


def test_sides_have_scales_of_their_own() -> None:
    """2 * 3 * 1 + 10 * 4 * 1 = 46: the sides' scales are 2 and 10."""
    node = make_node(
        "linear",
        (1,),
        inputs=("a", "b"),
        parameters={"weight": "w"},
        outputs=1,
        sides=(1, 1),
        **transform_attributes(None, 1),
    )
    formats = {
        "a": Format(bits=4, scales=(2.0,)),
        "b": Format(bits=4, scales=(10.0,)),
        "y": carrier(1.0),
    }
    arrays = prepare(node, formats, weights={"w": weight_row(1, 1, scales=(1.0, 1.0))})
    inputs = [np.array([[3]], np.int8), np.array([[4]], np.int8)]
    codes, _ = run_both(node, arrays, inputs, carrier(1.0))
    assert codes.tolist() == [[46]]


@given(SEEDS, st.booleans(), st.sampled_from([2, 4, 8, 16]), ACCUMULATORS, FILL)
def test_attention_products(seed, transpose, bits, accumulator, fill) -> None:
    """Both sides with zero-points of their own."""
    rng = np.random.default_rng(seed)
    zero_points = [tuple(int(z) for z in rng.integers(0, 2**bits, 2)) for _ in range(2)]
    formats = {
        name: Format(bits=bits, scales=(0.1, 0.2), signed=False, zero_points=z)
        for name, z in zip("ab", zero_points, strict=True)
    }
    node = make_node(
        "matmul",
        (2, 3, 4),
        inputs=("a", "b"),
        transpose_b=transpose,
        factor=0.125,
        reduction=5,
        accumulator_bits=accumulator[0],
        accumulator_overflow=accumulator[1],
    )
    output = carrier(2.0**-8)
    arrays = prepare(node, {**formats, "y": output}, entry=1)
    codes = [
        rng.integers(0, 2**bits, shape).astype(formats["a"].dtype)
        for shape in ((2, 2, 3, 5), (2, 2, 4, 5) if transpose else (2, 2, 5, 4))
    ]
    if fill in ("low", "high"):
        codes = [np.full_like(code, getattr(formats["a"], fill)) for code in codes]
    run_both(node, arrays, codes, output)
    sums, events = OPERATORS["matmul"].sums_integer(node, arrays, codes)
    exact, exact_events = OPERATORS["matmul"].sums_exact(node, arrays, codes)
    assert np.array_equal(sums, exact)
    assert events == exact_events
    if accumulator[0] is None:
        a, b = (code.astype(np.int64) - z[1] for code, z in zip(codes, zero_points, strict=True))
        right = b.swapaxes(-1, -2) if transpose else b
        expected = naive.matmul(a.reshape(4, 3, 5), right.reshape(4, 5, 4))
        assert np.array_equal(sums.reshape(4, 3, 4), expected)


@pytest.mark.parametrize("realisation", ["runtime", "fold", "parity"])
def test_saturation_follows_the_order_of_the_flattened_row(realisation: str) -> None:
    """Channel, kernel row, kernel column, against a loop over the stated terms, fold and parity included."""
    transform = Transform("channel", 2, True)
    layer = make_layer(3, transform=transform, realisation=realisation, accumulator=(8, "saturate"))
    node, arrays = layer.arrays()
    sums, events = OPERATORS["conv2d"].sums_integer(node, arrays, layer.codes)
    codes, weight = layer.codes[0].astype(np.int64), layer.weight.codes.astype(np.int64)
    block = np.diag(naive.rudin_shapiro(4)) @ np.array(naive.hadamard(4))
    matrix = np.kron(np.eye(codes.shape[1] // 4, dtype=np.int64), block)
    operand = np.einsum("bchw,kc->bkhw", codes, matrix)
    terms = [(operand, 1)]
    if realisation == "fold":
        terms, weight = [(codes, 1)], np.einsum("ochw,ck->okhw", weight, matrix)
    if realisation == "parity":
        terms = [(operand >> 1, 2), (operand & 1, 1)]
    expected, count = 0, 0
    for term, factor in terms:
        found, clamped = _saturating_convolution(term, weight, (1, 0, 1, 1), 8)
        expected, count = expected + factor * found, count + clamped
    assert np.array_equal(sums[0], expected)
    assert events == count > 0


def _saturating_convolution(x, weight, padding, bits):
    top, left, bottom, right = padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    outputs, _, kh, kw = weight.shape
    height, width = padded.shape[2] - kh + 1, padded.shape[3] - kw + 1
    rows = []
    for b, y, z in np.ndindex(x.shape[0], height, width):
        rows.append([int(v) for v in padded[b, :, y : y + kh, z : z + kw].ravel()])
    columns = weight.reshape(outputs, -1).T
    sums, events = naive.matmul_saturate(np.array([rows]), columns[None], bits)
    return sums.reshape(x.shape[0], height, width, outputs).transpose(0, 3, 1, 2), events


def test_an_operand_of_16_bits_behind_a_transform_takes_21() -> None:
    """Order 5: -32 * 32768 to 16 * (32767 + 32768); its products are made of two int16 halves."""
    layer = make_layer(0, op="linear", transform=Transform("channel", 5, False), bits=(16, 8), fill="low")
    node, arrays = layer.arrays()
    assert arrays["operand_range"].tolist() == [[-(2**20), 16 * 65535]]
    assert arrays["wide"].tolist() == [1]
    sums, _ = OPERATORS["linear"].sums_integer(node, arrays, layer.codes)
    first = layer.weight.codes[:, ::32].astype(np.int64).sum(axis=1)
    assert np.array_equal(sums[0, 0, 0], -(2**20) * first)


def test_the_scale_of_a_product_follows_its_segments() -> None:
    layer = make_layer(1, sides=2, group_size=4)
    scales = OPERATORS["conv2d"].product_scale(
        layer.node, Preparation(layer.sources, {}, {"w": layer.weight})
    )
    depths = layer.node.attributes["sides"]
    sides = [side for side, depth in enumerate(depths) for _ in range(-(-depth // 4))]
    sources = list(layer.sources.values())
    for entry in (0, 1):
        for segment, side in enumerate(sides):
            expected = sources[side].scales[entry] * layer.weight.scales[:, segment]
            np.testing.assert_array_equal(scales[entry, segment], expected)


@pytest.mark.parametrize("static_operands", [True, False])
def test_weight_scales_per_timestep_make_a_table_of_their_own(static_operands: bool) -> None:
    """Whether or not the operand's scale changes too."""
    layer = with_stepped_scales(make_layer(1))
    sources = layer.sources
    if static_operands:
        sources = {name: replace(source, scales=source.scales[:1]) for name, source in sources.items()}
    (source,) = sources.values()
    scales = OPERATORS["conv2d"].product_scale(layer.node, Preparation(sources, {}, {"w": layer.weight}))
    assert scales.shape == (2, 1, layer.weight.shape[0])
    for entry in (0, 1):
        expected = source.scales[0 if static_operands else entry] * layer.weight.scales[entry, :, 0]
        np.testing.assert_array_equal(scales[entry, 0], expected)
    _, arrays = replace(layer, sources=sources).arrays()
    run_both(layer.node, arrays, layer.codes, layer.output)
    factor = arrays["multiplier"][0] * 2.0 ** -arrays["shift"]
    np.testing.assert_allclose(factor, scales[1, 0] / layer.output.scale, rtol=2**-15)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_single_channel_along_the_width(order: int, symmetric: bool) -> None:
    """A first layer of grey images: the transformed axis is the last one that is longer than 1."""
    rng = np.random.default_rng(order)
    source = Format(bits=4, scales=(1.0,), signed=symmetric)
    node = make_node(
        "conv2d",
        (2, 3, 32),
        parameters={"weight": "w"},
        kernel=(2, 3, 3),
        stride=1,
        padding=(1, 1, 1, 1),
        **transform_attributes(Transform("width", order, False), 1),
    )
    weight = WeightCodes.of(rng.integers(-7, 8, (2, 1, 3, 3)).astype(np.int8), np.ones(2), 4)
    arrays = prepare(node, {"x": source, "y": carrier(0.25)}, weights={"w": weight})
    codes = rng.integers(source.low, source.high + 1, (1, 1, 3, 32)).astype(np.int8)
    run_both(node, arrays, [codes], carrier(0.25))
