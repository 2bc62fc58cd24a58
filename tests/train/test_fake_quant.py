"""Values and gradients of fake-quantization, by autograd, by hand, by the executors' own."""

import math

import pytest
import torch

from hqsim.graph import Node, TensorType
from hqsim.numerics import Format
from hqsim.ops import OPERATORS
from hqsim.train.fake_quant import Rotation, fake_quantize
from tests import naive


def _node(shape, axis, order, *, signs=False, channel_axis=1):
    attributes = {
        "bits": 4,
        "symmetric": True,
        "hadamard_axis": axis,
        "hadamard_order": order,
        "hadamard_signs": signs,
        "channel_axis": channel_axis,
    }
    return Node("q", "quantize", ("x",), TensorType(shape), attributes)


def _rotation(node, axis, dtype=torch.float64):
    return Rotation.of(node, axis, dtype=dtype, device=torch.device("cpu"))


def _matrix(order, signs):
    """``D Ĥ / sqrt(n)`` by its other definition."""
    n = 1 << order
    diagonal = naive.rudin_shapiro(n) if signs else [1] * n
    rows = naive.hadamard(n)
    return torch.tensor([[diagonal[i] * rows[i][j] for j in range(n)] for i in range(n)]).double() / n**0.5


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize(("axis", "position"), [("width", -1), ("channel", 1)])
def test_a_rotation_is_the_dense_block_matrix(axis, position, signs):
    x = torch.randn(2, 8, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rotation = _rotation(_node((8, 3, 8), axis, 2, signs=signs), position)
    matrix = torch.block_diag(*[_matrix(2, signs)] * 2)
    expected = (x.movedim(position, -1) @ matrix).movedim(-1, position)
    torch.testing.assert_close(rotation.forward(x), expected)
    torch.testing.assert_close(rotation.inverse(expected), x)


class _Round(torch.autograd.Function):
    """Half up, straight through: the only gradient that plain autograd lacks."""

    @staticmethod
    def forward(ctx, x):
        return (x + 0.5).floor()

    @staticmethod
    def backward(ctx, g):
        return g


def _plain(x, scale, zero_point, low, high, matrix):
    """LSQ+ with a transform, gradients by autograd alone."""
    u = (x.reshape(*x.shape[:-1], -1, len(matrix)) @ matrix).reshape(x.shape)
    y = (torch.clamp(_Round.apply(u / scale) + zero_point, low, high) - zero_point) * scale
    return (y.reshape(*y.shape[:-1], -1, len(matrix)) @ matrix.T).reshape(y.shape)


@pytest.mark.parametrize(("low", "high", "zero"), [(-8, 7, None), (-2, 1, None), (0, 15, 6.3), (0, 3, 0.4)])
@pytest.mark.parametrize("order", [0, 3])
def test_gradients_are_those_of_autograd(low, high, zero, order):
    generator = torch.Generator().manual_seed(order)
    x = (3 * torch.randn(2, 3, 4, 16, dtype=torch.float64, generator=generator)).requires_grad_()
    weight = torch.randn(x.shape, dtype=torch.float64, generator=generator)
    scale = torch.tensor(0.61, dtype=torch.float64, requires_grad=True)
    zero_point = None if zero is None else torch.tensor(zero, dtype=torch.float64, requires_grad=True)
    number = zero or 0.0
    rotation = _rotation(_node((3, 4, 16), "width", order), -1)
    limits = (low - number, high - number)
    ours = fake_quantize(x, scale, limits, count=192, zero_point=zero_point, rotation=rotation)
    learned = [x, scale] if zero_point is None else [x, scale, zero_point]
    found = torch.autograd.grad((ours * weight).sum(), learned)
    reference = zero_point if zero_point is not None else torch.tensor(0.0, dtype=torch.float64)
    plain = _plain(x, scale, reference, low, high, _matrix(order, False))
    expected = torch.autograd.grad((plain * weight).sum(), learned)
    torch.testing.assert_close(ours, plain)
    factor = (192 * (high if zero is None else high - low)) ** -0.5
    torch.testing.assert_close(found[0], expected[0])
    for ours_, theirs in zip(found[1:], expected[1:], strict=True):
        torch.testing.assert_close(ours_, theirs * factor)


def test_the_scale_of_two_codes_by_hand():
    """0.9 is 2 steps of 0.4 (d/ds = 2 - 2.25), 5.0 saturates at 7 (d/ds = 7): Esser et al., equation 3."""
    x = torch.tensor([[0.9, 5.0]], requires_grad=True)
    scale = torch.tensor(0.4, requires_grad=True)
    found = fake_quantize(x, scale, (-8, 7), count=2)
    torch.testing.assert_close(found, torch.tensor([[0.8, 2.8]]))
    found.sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(scale.grad, torch.tensor((-0.25 + 7) / math.sqrt(14)))


def test_ties_go_up():
    x = torch.tensor([[-2.5, -1.5, -0.5, 0.5, 2.5]])
    assert fake_quantize(x, torch.tensor(1.0), (-8, 7), count=5).tolist() == [[-2, -1, 0, 1, 3]]


def test_a_scale_per_channel_is_a_channel_by_itself():
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(4, 6, generator=generator).requires_grad_()
    scale = torch.tensor([[0.2], [0.3], [0.5], [0.1]], requires_grad=True)
    fake_quantize(weight, scale, (-7, 7), count=6).square().sum().backward()
    for row, step, of_row, of_step in zip(weight, scale, weight.grad, scale.grad, strict=True):
        alone, one = row.detach().clone().requires_grad_(), step.detach().clone().requires_grad_()
        fake_quantize(alone, one, (-7, 7), count=6).square().sum().backward()
        torch.testing.assert_close(alone.grad, of_row)
        torch.testing.assert_close(one.grad, of_step)


@pytest.mark.parametrize(("low", "high", "zero"), [(-8, 7, None), (0, 15, 6.3)])
def test_gradients_are_finite_differences_of_the_surrogate(low, high, zero):
    """Straight through: the rounding error and the side of the clamp are held, and what is left is smooth."""
    matrix = _matrix(2, True)
    x = 2 * torch.randn(24, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weight = torch.randn(24, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    start = [x, torch.tensor(0.37).double(), torch.tensor(zero or 0.0).double()]
    error = ((x @ matrix) / start[1] + 0.5).floor() - (x @ matrix) / start[1]

    rounded = (x @ matrix) / start[1] + error + start[2]
    held = rounded.clamp(low, high)
    inside = (rounded - held).abs() < 1e-9

    def surrogate(x, scale, zero_point):
        codes = torch.where(inside, (x @ matrix) / scale + error + zero_point, held)
        return float((((codes - zero_point) * scale) @ matrix.T * weight).sum())

    learned = [value.clone().requires_grad_() for value in start]
    rotation = _rotation(_node((4,), "channel", 2, signs=True), -1)
    limits = (low - start[2].item(), high - start[2].item())
    point = None if zero is None else learned[2]
    fake_quantize(learned[0], learned[1], limits, count=4, zero_point=point, rotation=rotation).backward(
        weight
    )
    factor = (4 * (high if zero is None else high - low)) ** 0.5
    h = 1e-6
    for index in range(2 if zero is None else 3):
        moved = [[value.clone() for value in start] for _ in range(2)]
        for values, step in zip(moved, (h, -h), strict=True):
            values[index].view(-1)[0] += step
        slope = (surrogate(*moved[0]) - surrogate(*moved[1])) / (2 * h)
        found = float(learned[index].grad.view(-1)[0]) * (factor if index else 1.0)
        assert found == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("axis", ["width", "channel"])
def test_values_are_those_of_the_executors(axis):
    """``Quantize.fake`` with the un-normalised scale: ``ŝ = s sqrt(n)``."""
    node = _node((8, 4, 8), axis, 3, signs=True)
    x = torch.randn(2, 8, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    operand = Format(bits=4, scales=(0.9,))
    _, expected = OPERATORS["quantize"].fake(node, x, operand, 0)
    rotation = _rotation(node, 1 if axis == "channel" else -1)
    scale = torch.tensor(0.9 / 8**0.5, dtype=torch.float64)
    torch.testing.assert_close(fake_quantize(x, scale, (-8, 7), count=1, rotation=rotation), expected)
