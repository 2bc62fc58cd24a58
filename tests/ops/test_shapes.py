"""Shape rules against torch."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from hqsim.graph import Node
from hqsim.ops import OPERATORS
from tests.ops.builders import make_node


def check(node: Node, *shapes: tuple[int, ...], weight: tuple[int, ...] | None = None) -> None:
    """The rule on shapes of one sample against torch on a batch of two."""
    operator = OPERATORS[node.op]
    parameters = {"w": torch.zeros(weight)} if weight else {}
    result = operator.evaluate(node, [torch.zeros(2, *shape) for shape in shapes], parameters)
    assert operator.shape(node, shapes) == tuple(result.shape[1:])


@pytest.mark.parametrize(("kernel", "stride"), list(product([(1, 1), (3, 3), (2, 5)], [1, 2, 3])))
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 1, 1), (2, 0, 1, 3)])
@pytest.mark.parametrize("image", [(5, 5), (8, 7), (6, 11)])
def test_conv2d(kernel, stride, padding, image) -> None:
    node = make_node(
        "conv2d", (), parameters={"weight": "w"}, kernel=(4, *kernel), stride=stride, padding=padding
    )
    check(node, (3, *image), weight=(4, 3, *kernel))


def test_conv2d_padding_goes_to_its_own_side() -> None:
    """``ZeroPad2d`` of diffusers' downsampling is (left, right, top, bottom) = (0, 1, 0, 1)."""
    weight = torch.randn(2, 3, 3, 3, generator=torch.manual_seed(0))
    x = torch.randn(1, 3, 6, 8, generator=torch.manual_seed(1))
    node = make_node(
        "conv2d", (), parameters={"weight": "w"}, kernel=(2, 3, 3), stride=2, padding=(0, 0, 1, 1)
    )
    expected = torch.nn.Conv2d(3, 2, 3, stride=2, bias=False)
    expected.weight.data = weight
    padded = torch.nn.ZeroPad2d((0, 1, 0, 1))(x)
    assert torch.equal(OPERATORS["conv2d"].evaluate(node, [x], {"w": weight}), expected(padded))


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 5, 6)])
def test_linear(shape) -> None:
    check(make_node("linear", (), parameters={"weight": "w"}, outputs=4), shape, weight=(4, 6))


@pytest.mark.parametrize("transpose", [False, True])
def test_matmul(transpose) -> None:
    node = make_node("matmul", (), inputs=("a", "b"), transpose_b=transpose, factor=0.5)
    check(node, (3, 5, 4), (3, 7, 4) if transpose else (3, 4, 7))


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_concat(axis) -> None:
    sides = [[3, 4, 5], [3, 4, 5]]
    sides[1][axis - 1] = 7
    check(make_node("concat", (), inputs=("a", "b"), axis=axis), *(tuple(side) for side in sides))


def test_views_and_copies() -> None:
    check(make_node("reshape", (12, 5)), (3, 4, 5))
    check(make_node("permute", (), order=(0, 3, 1, 2)), (3, 4, 5))
    check(make_node("upsample_nearest", (), factor=3), (3, 4, 5))


@pytest.mark.parametrize("op", ["silu", "gelu", "gelu_tanh", "softmax", "rescale", "quantize"])
def test_elementwise(op) -> None:
    check(make_node(op, ()), (3, 4, 5))


def test_constants() -> None:
    check(make_node("scale", (), factor=0.5), (3, 4, 5))
    check(make_node("offset", (), value=1.0), (3, 4, 5))
    check(make_node("layer_norm", (), eps=1e-5), (4, 5))


@pytest.mark.parametrize("image", [(4, 4), (5, 7)])
def test_average_pool(image) -> None:
    check(make_node("average_pool", (), factor=2), (3, *image))


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_slice(axis) -> None:
    check(make_node("slice", (), axis=axis, start=1, stop=3), (3, 4, 5))


@pytest.mark.parametrize("op", ["add", "product"])
@pytest.mark.parametrize("other", [(3, 4, 5), (3, 1, 1), (1, 4, 5)])
def test_two_operands(op, other) -> None:
    check(make_node(op, (), inputs=("a", "b")), (3, 4, 5), other)
