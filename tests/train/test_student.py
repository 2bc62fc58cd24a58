"""The student starts as the calibrated fake-quant model and exports what it has learned."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hqsim.numerics import snap
from hqsim.ops import OPERATORS
from hqsim.quantize import load_recipe
from hqsim.quantize.api import quantize
from hqsim.quantize.calibrate import model_inputs
from hqsim.quantize.lower import lower
from hqsim.quantize.torch_model import TorchModel
from hqsim.train.lora import LowRank, generator_of
from hqsim.train.student import SMALLEST_SHARE, Student, visits

RECIPES = [
    "hqdm-w4a4",
    "hqdm-channel-w4a3",
    "hqdm-mixed-w4a3",
    "hqdm-exponents-w4a4",
    "efficientdm-w4a4",
    "double-w4a4",
]


def _student(model, qmodel, rank=0, entries=1):
    adapters = {
        name: LowRank(codes.shape, rank, generator_of(0, name))
        for name, codes in qmodel.weights.items()
        if rank
    }
    student = Student(qmodel.graph, model.parameters, qmodel.formats, qmodel.weights, adapters, entries)
    return student.place(torch.device("cpu"))


def _inputs(model):
    x = torch.randn(2, *model.sample_shape, generator=torch.Generator().manual_seed(4))
    return model_inputs(model, x, 333, 1.5)


def _output(walked):
    return [visit.value for visit in walked][-1]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_start_is_the_calibrated_model(tiny_model, recipe):
    """Layer by layer, on the fake-quant model's own inputs: whole runs part by rounding."""
    qmodel = quantize(tiny_model, recipe, steps=2, images=1, guidance=1.5)
    student = _student(tiny_model, qmodel, rank=2)
    reference = TorchModel(
        qmodel.graph, tiny_model.parameters, formats=qmodel.formats, weights=qmodel.weights
    )
    parameters = student.frozen | {name: student.layer(name).quantized().detach() for name in student.names}
    for visit in reference.walk(_inputs(tiny_model), 1):
        if visit.node.op in ("conv2d", "linear"):
            ours = OPERATORS[visit.node.op].evaluate(visit.node, visit.inputs, parameters)
            error = float((ours - visit.value).square().mean() / visit.value.square().mean())
            assert error < 1e-4, visit.node.name


def test_without_quantizers_it_is_the_float_model(tiny_model, tiny_qmodel):
    student = _student(tiny_model, tiny_qmodel)
    reference = TorchModel(tiny_qmodel.graph, tiny_model.parameters)
    ours = _output(visits(tiny_qmodel.graph, _inputs(tiny_model), student.frozen))
    torch.testing.assert_close(ours, _output(reference.walk(_inputs(tiny_model), 0)), rtol=0, atol=0)


def test_only_the_entry_of_the_timestep_learns(tiny_model, tiny_qmodel):
    student = _student(tiny_model, tiny_qmodel, rank=2)
    _output(student.walk(_inputs(tiny_model), 1)).square().mean().backward()
    moved = [scales.grad is not None for scales in student.stepped.scales]
    assert moved == [False, True, False]
    assert all(float(layer.scale.grad.abs().sum()) > 0 for layer in student.layers.values())
    assert all(float(layer.low_rank.b.grad.abs().sum()) > 0 for layer in student.layers.values())


def test_a_merged_weight_by_hand():
    low_rank = LowRank((2, 3, 1, 1), 32, generator_of(1, "w"))
    assert low_rank.a.shape == (2, 3)
    assert not low_rank.b.any()
    assert float(low_rank.a.detach().abs().max()) <= 3**-0.5
    with torch.no_grad():
        low_rank.a.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]))
        low_rank.b.copy_(torch.tensor([[1.0, 0.0], [2.0, -1.0]]))
    merged = low_rank.merged(torch.ones(2, 3, 1, 1))
    assert merged.reshape(2, 3).tolist() == [[2.0, 3.0, 4.0], [3.0, 4.0, 7.0]]


def test_factors_do_not_depend_on_other_layers():
    first, again = (LowRank((4, 8), 2, generator_of(5, "a")).a for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, LowRank((4, 8), 2, generator_of(5, "b")).a)


def test_export_keeps_the_entries_asked_for(tiny_model, tiny_qmodel):
    student = _student(tiny_model, tiny_qmodel)
    node = student.stepped.nodes[4]
    found = student.learned_formats([0, 2])[node.name]
    calibrated = tiny_qmodel.formats[node.name].scales
    np.testing.assert_allclose(found.scales, (calibrated[0], calibrated[2]), rtol=1e-6)


def test_export_keeps_exponents(tiny_model):
    """The learned scale is the step of the loudest channels, the format's that of the quietest."""
    qmodel = quantize(tiny_model, "hqdm-exponents-w4a4", steps=2, images=2, guidance=1.5)
    student = _student(tiny_model, qmodel)
    found = student.learned_formats([0, 1])
    spread = [name for name, format_ in qmodel.formats.items() if format_.exponents]
    assert spread
    for name in spread:
        assert found[name].exponents == qmodel.formats[name].exponents
        np.testing.assert_allclose(found[name].scales, qmodel.formats[name].scales, rtol=1e-6)
    node = next(node for node in student.stepped.nodes if node.name in spread)
    index = student.stepped.nodes.index(node)
    size = 2.0 ** node.attributes["hadamard_order"]
    coarse = 2 * qmodel.formats[node.name].scales[1] * size**-0.5
    assert float(student.stepped.scales[1][index].detach()) == pytest.approx(coarse)


def test_zero_points_are_rounded_half_up_and_stay_codes(tiny_model):
    qmodel = quantize(tiny_model, "efficientdm-w4a4", steps=3, images=2, guidance=1.5)
    student = _student(tiny_model, qmodel)
    names = [node.name for node in student.stepped.unsigned]
    with torch.no_grad():
        student.stepped.zero_points[0][0] = 4.5
        student.stepped.zero_points[1][0] = -3.0
        student.stepped.zero_points[2][0] = 7.49
    bits = qmodel.formats[names[0]].bits
    assert bits == 8
    assert student.learned_formats([0, 1, 2])[names[0]].zero_points == (5, 0, 7)


def test_exported_weights_are_the_quantized_ones(tiny_model):
    """Real values of the codes equal the student's, but for the snapping of the scales (2^-15 of them)."""
    for recipe in ("hqdm-w4a4", "double-w4a4"):
        qmodel = quantize(tiny_model, recipe, steps=1, images=1, guidance=1.0)
        student = _student(tiny_model, qmodel, rank=2)
        with torch.no_grad():
            for layer in student.layers.values():
                layer.low_rank.b.normal_(0.0, 0.05, generator=torch.Generator().manual_seed(1))
        for name, codes in student.weight_codes([0]).items():
            layer = student.layer(name)
            real = OPERATORS[layer.node.op].real_weight(layer.node, codes)
            assert (snap(codes.scales) == codes.scales).all()
            ours = layer.quantized().detach().double().numpy()
            wrong = np.abs(real - ours) > 1e-3 * np.abs(ours).max()
            assert wrong.mean() < 0.01, name  # A rounding boundary between the two scales.


def test_scales_stay_positive(tiny_model, tiny_qmodel):
    student = _student(tiny_model, tiny_qmodel)
    before = student.stepped.scales[1].detach().clone()
    with torch.no_grad():
        student.stepped.scales[1].fill_(-1.0)
    student.keep_scales_positive()
    torch.testing.assert_close(student.stepped.scales[1].detach(), before * SMALLEST_SHARE)


def test_groups_have_scales_of_their_own(tiny_model):
    recipe = load_recipe("hqdm-channel-w4a4")
    grouped = recipe.model_copy(update={"weights": recipe.weights.model_copy(update={"group_size": 8})})
    qmodel = quantize(tiny_model, grouped, steps=1, images=1, guidance=1.0)
    student = _student(tiny_model, qmodel)
    assert any(len(layer.lengths) > 1 for layer in student.layers.values())
    for name, codes in student.weight_codes([0]).items():
        assert (codes.codes == qmodel.weights[name].codes).mean() > 0.999, name


def _stepped(model, recipe="hqdm-w4a4", **weights):
    """A calibrated model whose layers say that their weight scales change with the timestep."""
    recipe = load_recipe(recipe)
    recipe = recipe.model_copy(update={"weights": recipe.weights.model_copy(update=weights)})
    qmodel = quantize(model, recipe, steps=1, images=1, guidance=1.0)
    training = recipe.training.model_copy(update={"weight_scales": "per_timestep"})
    return replace(qmodel, graph=lower(model.graph, recipe.model_copy(update={"training": training})))


def test_only_the_ratios_of_the_timestep_learn(tiny_model):
    student = _student(tiny_model, _stepped(tiny_model), entries=3)
    outputs = sum(layer.scale.numel() for layer in student.layers.values())
    assert [len(scales) for scales in student.ratios.scales] == [outputs] * 3
    _output(student.walk(_inputs(tiny_model), 1)).square().mean().backward()
    first, second, third = (scales.grad for scales in student.ratios.scales)
    assert first is third is None
    assert (second != 0).float().mean() > 0.9
    with torch.no_grad():
        student.ratios.scales[1].fill_(-1.0)
    student.keep_scales_positive()
    assert (student.ratios.scales[1] == SMALLEST_SHARE).all()


def _loss_by_hand(layer, ratio, scale, gradient):
    """``Σ g w`` with ``w`` of the codes in float64: the transform as a matrix product over rows."""
    shares = np.repeat(ratio * scale, layer.lengths, axis=1)
    steps = np.repeat(scale, layer.lengths, axis=1)
    matrix = np.eye(layer.weight.shape[1])
    if layer.rotation is not None:
        block = layer.rotation.matrix.double().numpy()
        matrix = np.kron(np.eye(len(matrix) // len(block)), block)
    weight = layer.merged().detach().double().numpy()
    codes = np.clip(np.floor(weight @ matrix / steps + 0.5), -layer.high, layer.high)
    return float((gradient * (codes * shares @ matrix.T)).sum())


@pytest.mark.parametrize("recipe", ["hqdm-w4a4", "double-w4a4"])
def test_gradients_of_the_ratios_are_finite_differences(tiny_model, recipe):
    """Groups that cut blocks of the transform included: the ratio meets the codes."""
    student = _student(tiny_model, _stepped(tiny_model, recipe, group_size=4))
    name = "mid_block.attentions.0.to_q.weight"
    layer = student.layer(name)
    rng = np.random.default_rng(3)
    gradient = rng.normal(size=tuple(layer.weight.shape))
    ratio = torch.from_numpy(rng.uniform(0.5, 1.5, tuple(layer.scale.shape))).float().requires_grad_()
    weight = layer.quantized(ratio)
    (weight * torch.from_numpy(gradient).float()).sum().backward()
    scale, start = layer.scale.detach().double().numpy(), ratio.detach().double().numpy()
    assert layer.scale.grad.abs().sum() > 0
    for index in [(0, 0), (3, 1), (7, 3)]:
        step = np.zeros_like(start)
        step[index] = 0.25
        above, below = (_loss_by_hand(layer, start + sign * step, scale, gradient) for sign in (1, -1))
        assert float(ratio.grad[index]) == pytest.approx((above - below) / 0.5, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("recipe", ["hqdm-w4a4", "double-w4a4"])
def test_exported_scales_are_dyadic_at_the_entries_asked_for(tiny_model, recipe):
    student = _student(tiny_model, _stepped(tiny_model, recipe, group_size=4), entries=3)
    with torch.no_grad():
        for entry, scales in enumerate(student.ratios.scales):
            scales.fill_(1 + entry / 4)
    static = {name: student.layer(name).codes() for name in student.names}
    for name, weight in student.weight_codes([0, 2]).items():
        assert weight.scales.shape == (2, *static[name].scales.shape)
        np.testing.assert_array_equal(weight.codes, static[name].codes)
        np.testing.assert_array_equal(weight.scales[0], static[name].scales)
        np.testing.assert_array_equal(snap(weight.scales), weight.scales)
        np.testing.assert_allclose(weight.scales[1], 1.5 * static[name].scales, rtol=2**-15)
        layer, ratios = student.layer(name), student.ratios.at(2)
        real = OPERATORS[layer.node.op].real_weight(layer.node, weight, 1)
        ours = layer.quantized(ratios[name]).detach().double().numpy()
        wrong = np.abs(real - ours) > 1e-3 * np.abs(ours).max()
        assert wrong.mean() < 0.01, name  # A rounding boundary between the two scales.
