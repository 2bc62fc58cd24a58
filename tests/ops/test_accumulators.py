"""The proved bound of a layer's sums: never passed by the worst codes, and tight without a transform."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.errors import NumericsError
from hqsim.numerics import Format, Transform, signed_bits
from hqsim.ops import OPERATORS, WeightCodes
from tests import naive
from tests.ops.builders import carrier, make_node, make_weight, prepare, transform_attributes

SEEDS = st.integers(0, 2**32)
BITS = st.integers(2, 8)


def worst_codes(row: np.ndarray, operand: Format) -> list[np.ndarray]:
    """Codes that make ``codes @ row`` largest and smallest."""
    return [np.where(row > 0, operand.high, operand.low), np.where(row > 0, operand.low, operand.high)]


def folded(weight: np.ndarray, transform: Transform | None) -> np.ndarray:
    """What each code contributes: the weights, through the inverse transform of their block."""
    if transform is None:
        return weight.astype(np.int64)
    signs = naive.rudin_shapiro(transform.size) if transform.signs else [1] * transform.size
    block = np.array(naive.hadamard(transform.size)) * signs
    return (weight.astype(np.int64).reshape(len(weight), -1, transform.size) @ block.T).reshape(
        len(weight), -1
    )


@given(SEEDS, st.integers(1, 4), st.tuples(BITS, BITS), st.booleans(), st.booleans(), st.integers(0, 5))
def test_layers(seed, blocks, bits, unsigned, is_conv, order) -> None:
    rng = np.random.default_rng(seed)
    transform = Transform("channel", order, bool(seed & 1)) if order else None
    length = blocks << order
    operand = Format(bits=bits[0], scales=(1.0,), signed=not unsigned)
    weight = make_weight(rng, (3, length, 1, 1) if is_conv else (3, length), bits[1])
    if is_conv:
        node = make_node(
            "conv2d",
            (3, 1, 1),
            parameters={"weight": "w"},
            kernel=(3, 1, 1),
            stride=1,
            padding=(0, 0, 0, 0),
            **transform_attributes(transform, 1),
        )
    else:
        node = make_node(
            "linear", (3,), parameters={"weight": "w"}, outputs=3, **transform_attributes(transform, 1)
        )
    operator, formats = OPERATORS[node.op], {"x": operand, "y": carrier(1.0)}
    arrays = prepare(node, formats, weights={"w": weight})
    bound = operator.bound(node, arrays, [operand])
    effect = folded(weight.codes.reshape(3, length), transform)
    reached = 0
    for row in effect:
        for codes in worst_codes(row, operand):
            x = codes.astype(operand.dtype).reshape((1, length, 1, 1) if is_conv else (1, length))
            sums = operator.sums_integer(node, arrays, [x])[0].reshape(3)
            assert sums.tolist() == (effect @ codes).tolist()
            assert signed_bits(int(sums.min()), int(sums.max())) <= bound.bits
            reached = max(reached, int(np.abs(sums).max()))
    assert reached <= bound.magnitude
    if transform is None and not unsigned:
        assert reached >= bound.magnitude * operand.high // -operand.low


def test_a_convolution_along_width_reaches_its_worst_pixel() -> None:
    """The whole image is one row of four blocks; the kernel covers it."""
    rng = np.random.default_rng(0)
    transform = Transform("width", 3, False)
    operand = Format(bits=4, scales=(1.0,))
    weight = make_weight(rng, (2, 3, 1, 32), 4)
    node = make_node(
        "conv2d",
        (2, 1, 1),
        parameters={"weight": "w"},
        kernel=(2, 1, 32),
        stride=1,
        padding=(0, 0, 0, 0),
        **transform_attributes(transform, 1),
    )
    arrays = prepare(node, {"x": operand, "y": carrier(1.0)}, weights={"w": weight})
    bound = OPERATORS["conv2d"].bound(node, arrays, [operand])
    effect = folded(weight.codes.reshape(2, 96), transform)
    for codes in worst_codes(effect[0], operand):
        x = codes.astype(np.int8).reshape(1, 3, 1, 32)
        sums, _ = OPERATORS["conv2d"].sums_integer(node, arrays, [x])
        assert sums.ravel().tolist() == (effect @ codes).tolist()
        assert np.abs(sums).max() <= bound.magnitude
    assert bound.magnitude == 64 * int(np.abs(weight.codes.astype(int)).sum(axis=(1, 2, 3)).max())


@given(st.integers(1, 300), BITS, BITS, st.booleans())
def test_the_bound_of_an_attention_product_is_reached(k, a_bits, b_bits, probabilities) -> None:
    a = Format(bits=a_bits, scales=(1.0,), signed=not probabilities)
    b = Format(bits=b_bits, scales=(1.0,))
    node = make_node("matmul", (1, 1, 1), inputs=("a", "b"), transpose_b=False, factor=1.0, reduction=k)
    arrays = prepare(node, {"a": a, "b": b, "y": carrier(1.0)})
    bound = OPERATORS["matmul"].bound(node, arrays, [a, b])
    left = np.full((1, 1, 1, k), a.low or a.high, a.dtype)
    right = np.full((1, 1, k, 1), b.low, b.dtype)
    (total,) = OPERATORS["matmul"].sums_integer(node, arrays, [left, right])[0].ravel().tolist()
    assert abs(total) == bound.magnitude
    assert bound.bits == signed_bits(-bound.magnitude, bound.magnitude)


def test_the_sum_type_follows_the_bound() -> None:
    """W8A8 with 255 * 127 * K: K = 66312 is the first that int32 does not hold."""
    for k, wide in ((66311, 0), (66312, 1)):
        assert (255 * 127 * k >= 2**31) == wide
        weight = WeightCodes.of(np.full((1, k), 127, np.int8), np.array([2.0**-8]), 8)
        operand = Format(bits=8, scales=(1.0,), signed=False)
        node = make_node(
            "linear", (1,), parameters={"weight": "w"}, outputs=1, **transform_attributes(None, 1)
        )
        arrays = prepare(node, {"x": operand, "y": carrier(1e6)}, weights={"w": weight})
        assert arrays["wide"].tolist() == [wide]
        x = np.full((1, k), 255, operand.dtype)
        assert OPERATORS["linear"].sums_integer(node, arrays, [x])[0].tolist() == [[[255 * 127 * k]]]


def test_a_rescale_that_could_leave_int64_is_refused() -> None:
    codes = make_weight(np.random.default_rng(0), (2, 4), 4).codes
    weight = WeightCodes.of(codes, np.array([1.0, 1e-13]), 4)
    node = make_node(
        "linear", (2,), parameters={"weight": "w", "bias": "b"}, outputs=2, **transform_attributes(None, 1)
    )
    formats = {"x": Format(bits=4, scales=(1.0,)), "y": carrier(1.0)}
    with pytest.raises(
        NumericsError, match=r"^y: the rescale needs \d+ bits, allowed 61; a weight channel's scale"
    ):
        prepare(node, formats, parameters={"b": np.array([20000.0, 20000.0])}, weights={"w": weight})
