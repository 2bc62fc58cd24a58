"""A fault of one LSB in one kernel is found, and the node where it happened is named."""

import numpy as np
import pytest

from hqsim.errors import NumericsError
from hqsim.kernels import group_norm, product, rescale, softmax
from hqsim.simulate import verify


def _plant(monkeypatch, module, name, *, call, codes_at):
    """Add 1 to one code of the ``call``-th call of a kernel that writes codes (a product may write sums)."""
    kernel, seen = getattr(module, name), [0]

    def faulty(*arguments):
        result = kernel(*arguments)
        codes = arguments[codes_at].reshape(-1)
        seen[0] += codes.size > 0
        if codes.size and seen[0] == call:
            codes[len(codes) // 2] += 1
        return result

    monkeypatch.setattr(module, name, faulty)


def _nodes_that_call(qmodel, ops):
    """Nodes of these operators whose inputs (of a sum) are equally large: others call another kernel."""
    graph = qmodel.graph
    return [
        node.name
        for node in graph
        if node.op in ops and (node.op != "add" or len({graph[name].type for name in node.inputs}) == 1)
    ]


def test_no_fault_gives_no_mismatch(tiny_qmodel):
    result = verify(tiny_qmodel, steps=2, images=2, against="exact")
    assert result.mismatches == 0
    assert result.exact.first is None
    assert result.passed


@pytest.mark.parametrize(
    ("module", "kernel", "ops", "codes_at"),
    [
        (group_norm, "group_normalize", ("group_norm",), 9),
        (softmax, "softmax", ("softmax",), 3),
        (rescale, "add_rescaled", ("add",), 7),
        (product, "multiply_codes", ("conv2d", "linear", "matmul"), -2),
    ],
)
def test_a_fault_of_one_lsb_is_named(monkeypatch, tiny_qmodel, module, kernel, ops, codes_at):
    names = _nodes_that_call(tiny_qmodel, ops)
    _plant(monkeypatch, module, kernel, call=2, codes_at=codes_at)
    result = verify(tiny_qmodel, steps=2, images=2, against="exact")
    first = result.exact.first
    assert first.node == names[1]
    assert first.step == 0
    assert first.got == first.expected + 1
    assert result.mismatches >= 1
    assert not result.passed
    assert result.to_json()["first_divergence"]["node"] == names[1]
    assert any(what == "first divergence" and names[1] in text for what, text in result.summary())


def test_a_fault_in_a_later_step_names_the_step(monkeypatch, tiny_qmodel):
    names = _nodes_that_call(tiny_qmodel, ("softmax",))
    _plant(monkeypatch, softmax, "softmax", call=len(names) + 1, codes_at=3)
    first = verify(tiny_qmodel, steps=2, images=2, against="exact").exact.first
    assert (first.node, first.step) == (names[0], 1)


def test_values_that_are_not_finite_are_refused_at_calibration(tiny_model):
    from dataclasses import replace

    import hqsim

    name = "mid_block.resnets.0.norm1.bias"
    broken = {**tiny_model.parameters, name: np.full_like(tiny_model.parameters[name], np.nan)}
    with pytest.raises(
        NumericsError, match=r"^mid_block\.resnets\.0\.norm1: activation at timestep \d+ is not"
    ):
        hqsim.quantize(replace(tiny_model, parameters=broken), "ptq-w8a8", steps=1, images=1)
