"""Adaptive rounding: its start, its gradient, its penalty, and what it gains over the nearest codes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from hqsim.ops import WeightCodes
from hqsim.quantize.scales import quantize_weight
from hqsim.train.rounding import AdaptiveRounding
from tests.ops.builders import make_node


def _rounding(weight, bits=4, node=None):
    node = node or make_node("linear", (len(weight),), parameters={"weight": "w"}, outputs=len(weight))
    return AdaptiveRounding(node, weight, quantize_weight(weight, bits))


def _weight(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_starts_at_the_real_weight():
    weight = _weight((5, 40))
    rounding = _rounding(weight)
    limit = rounding.high * rounding.nearest.scales
    clipped = np.clip(weight, -limit, limit)
    assert np.abs(rounding.weight().detach().numpy() - clipped).max() < 1e-5


@pytest.mark.parametrize("shape", [(5, 40), (4, 6, 3, 3)])
def test_without_learning_it_rounds_to_the_nearest(shape):
    rounding = _rounding(_weight(shape))
    assert np.array_equal(rounding.codes().codes, rounding.nearest.codes)
    assert np.array_equal(rounding.codes().scales, rounding.nearest.scales)


def test_every_segment_has_its_scale():
    weight = _weight((3, 8))
    node = make_node("linear", (3,), parameters={"weight": "w"}, outputs=3, group_size=4)
    nearest = quantize_weight(weight, 3, [4, 4])
    rounding = AdaptiveRounding(node, weight, nearest)
    assert np.array_equal(rounding.codes().codes, nearest.codes)
    assert rounding.scale.shape == (3, 8)
    assert np.array_equal(rounding.scale[:, [0, 7]].numpy(), nearest.scales.astype(np.float32))


def test_up_is_one_more_than_down():
    """0.3 of a step above 2 goes to 2 or to 3; what is clipped stays."""
    weight = np.array([[2.3, -1.6, 7.0]], np.float32)
    node = make_node("linear", (1,), parameters={"weight": "w"}, outputs=1)
    rounding = AdaptiveRounding(node, weight, WeightCodes.of(np.zeros((1, 3), np.int8), np.ones((1, 1)), 4))
    with torch.no_grad():
        rounding.v.fill_(5.0)
        assert rounding.codes().codes.tolist() == [[3, -1, 7]]
        assert rounding.weight().tolist() == [[3.0, -1.0, 7.0]]
        rounding.v.fill_(-5.0)
        assert rounding.codes().codes.tolist() == [[2, -2, 7]]
        assert rounding.weight().tolist() == [[2.0, -2.0, 7.0]]


def test_penalty_by_hand():
    rounding = _rounding(_weight((1, 3)))
    with torch.no_grad():  # sigmoid 0.5 is h = 0.5; 5 and -5 are beyond the clip.
        rounding.v.copy_(torch.tensor([[0.0, 5.0, -5.0]]))
    assert rounding.penalty(2.0).item() == pytest.approx(1.0)
    with torch.no_grad():  # h = 0.75 where the sigmoid is 0.85 / 1.2.
        rounding.v.fill_(float(torch.logit(torch.tensor(0.85 / 1.2))))
    assert rounding.penalty(2.0).item() == pytest.approx(3 * 0.75, rel=1e-5)
    assert rounding.penalty(20.0).item() == pytest.approx(3 * (1 - 0.5**20), rel=1e-5)


def test_gradient_against_finite_differences():
    rounding = _rounding(_weight((2, 5))).double()
    inputs = torch.from_numpy(_weight((7, 5), 1)).double()

    def loss(v):
        rounding.v.data = v
        return (inputs @ rounding.weight().T).square().sum() + 0.3 * rounding.penalty(4.0)

    start = rounding.v.detach().clone()
    loss(start).backward()
    found = rounding.v.grad.clone()
    for index in itertools.product(range(2), range(5)):
        step = torch.zeros_like(start)
        step[index] = 1e-6
        slope = (loss(start + step) - loss(start - step)).item() / 2e-6
        assert found[index].item() == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_learned_roundings_make_up_for_each_other():
    """Sixteen rows of eight weights: between the best of all 256 roundings of a row and the nearest one."""
    weight = _weight((16, 8), 3)
    rounding = _rounding(weight, bits=3)
    generator = np.random.default_rng(4)
    inputs = generator.normal(size=(64, 2)) @ generator.normal(size=(2, 8))
    inputs += 0.3 * generator.normal(size=(64, 8))
    scale = rounding.nearest.scales

    def error(codes):
        return np.square((scale * codes - weight) @ inputs.T).mean(axis=-1)

    down = np.floor(weight / scale)
    ways = itertools.product([0, 1], repeat=8)
    best = np.min([error(np.clip(down + up, -3, 3)) for up in ways], axis=0).sum()
    x, real = torch.from_numpy(inputs).float(), torch.from_numpy(weight)
    optimizer = torch.optim.Adam([rounding.v], lr=2e-2)
    for update in range(400):
        loss = (x @ (rounding.weight() - real).T).square().sum(1).mean()
        if update >= 80:
            loss = loss + 0.1 * rounding.penalty(20 - 18 * (update - 80) / 320)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert best <= error(rounding.codes().codes).sum() < 0.7 * error(rounding.nearest.codes).sum()
