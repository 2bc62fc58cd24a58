"""Sensitivity: a model whose figures are known by hand, and the small UNet without any reuse of values."""

from types import MappingProxyType

import numpy as np
import pytest

import hqsim
from hqsim.analysis.sensitivity import sensitivity
from hqsim.graph import Graph, Node, TensorType
from hqsim.graph.walk import walk
from hqsim.models import Model
from hqsim.simulate.executors import TorchExecutor
from hqsim.simulate.metrics import sqnr_db
from hqsim.simulate.sampler import resolve_settings, start_run, step_contexts
from hqsim.simulate.verify import matrix_layers

SHAPE = TensorType((1, 8, 8))


def _quiet(*_):
    pass


def _convolution(name):
    attributes = {"stride": (1, 1), "padding": (0, 0, 0, 0), "groups": 1}
    parameters = {"weight": f"{name}.weight", "bias": f"{name}.bias"}
    return Node(name, "conv2d", ("sample",), SHAPE, MappingProxyType(attributes), parameters, name)


@pytest.fixture(scope="module")
def two_layers(tiny_model):
    """``3 x + x``: two convolutions of one pixel and one channel side by side, and their sum."""
    nodes = (
        Node("sample", "input", (), SHAPE),
        _convolution("three"),
        _convolution("one"),
        Node("sum", "add", ("three", "one"), SHAPE),
    )
    parameters = {
        f"{name}.{role}": np.full((1, 1, 1, 1) if role == "weight" else 1, value, np.float32)
        for name, weight in (("three", 3.0), ("one", 1.0))
        for role, value in (("weight", weight), ("bias", 0.0))
    }
    model = Model(
        name="two",
        source="two",
        graph=Graph(nodes, "sum"),
        parameters=parameters,
        schedule=tiny_model.schedule,
        digest="0" * 64,
        sample_shape=(1, 8, 8),
        classes=0,
        null_label=None,
        guidance=1.0,
    )
    recipe = hqsim.load_recipe("ptq-w8a4").model_copy(update={"layers": ()})
    qmodel = hqsim.quantize(model, recipe, steps=1, images=2)
    vars(qmodel)["source"] = model
    return qmodel


def test_shares_of_two_layers_are_those_of_their_squared_weights(two_layers):
    """Both see the same rounding d of x, so their errors are 3 d and d: 90 % and 10 %."""
    settings = resolve_settings(two_layers, labels=None, images=2, steps=1, guidance=None, seed=3)
    found = sensitivity(two_layers, settings, _quiet).set_index("layer")
    assert found["share_percent"].to_dict() == pytest.approx({"three": 90.0, "one": 10.0}, abs=0.3)
    x = start_run(two_layers, TorchExecutor(two_layers, fake=False), settings).double().numpy()
    scale = two_layers.formats["one.operand"].scale
    d = np.clip(np.floor(x / scale + 0.5), -8, 7) * scale - x
    alone = {"three": sqnr_db(4 * x, 4 * x + 3 * d), "one": sqnr_db(4 * x, 4 * x + d)}
    whole = sqnr_db(4 * x, 4 * x + 4 * d)
    assert found["one_on_db"].to_dict() == pytest.approx(alone, abs=0.1)
    assert found["one_off_db"].to_dict() == pytest.approx(
        {"three": alone["one"], "one": alone["three"]}, abs=0.1
    )
    assert found.loc["three", "gain_db"] == pytest.approx(alone["one"] - whole, abs=0.1)
    assert set(found["steps"]) == {1}


def test_reuse_changes_nothing(tiny_qmodel):
    """One whole walk per layer and form, at the first step, gives the same figures."""
    settings = resolve_settings(tiny_qmodel, labels=None, images=2, steps=1, guidance=1.5, seed=0)
    found = sensitivity(tiny_qmodel, settings, _quiet).set_index("layer")
    assert found.index.tolist() == [node.name for node in matrix_layers(tiny_qmodel)]
    real, fake = (TorchExecutor(tiny_qmodel, fake=fake) for fake in (False, True))
    x = start_run(tiny_qmodel, real, settings)
    (context,) = step_contexts(tiny_qmodel, settings)

    def noise(quantized):
        """The guided noise with the layers in ``quantized`` in fake-quant, all others in float."""
        given = {}
        for visit in real.predict(x, context):
            given |= dict(zip(visit.node.inputs, visit.inputs, strict=True))
        chosen = {name for node in quantized for name in (node.name, *node.inputs)}

        def evaluate(node, values):
            model = fake if node.name in chosen else real
            return model.torch_model.evaluate(node, values, context.entry)

        inputs = {node.name: given[node.name] for node in tiny_qmodel.graph if node.op == "input"}
        *_, last = walk(tiny_qmodel.graph, inputs, evaluate)
        return real.guide(last.value).double().numpy()

    layers = matrix_layers(tiny_qmodel)
    reference, whole = noise([]), sqnr_db(noise([]), noise(layers))
    for layer in (layers[0], layers[len(layers) // 2], layers[-1]):
        row = found.loc[layer.name]
        others = [node for node in layers if node is not layer]
        assert row["one_on_db"] == pytest.approx(sqnr_db(reference, noise([layer])), abs=1e-4)
        assert row["one_off_db"] == pytest.approx(sqnr_db(reference, noise(others)), abs=1e-4)
        assert row["gain_db"] == pytest.approx(row["one_off_db"] - whole, abs=1e-4)
    assert found["share_percent"].sum() == pytest.approx(100.0)


def test_few_steps_are_spread_over_the_trajectory(two_layers):
    settings = resolve_settings(two_layers, labels=None, images=1, steps=5, guidance=None, seed=0)
    seen = []
    found = sensitivity(two_layers, settings, lambda _, done, total: seen.append((done, total)), steps=3)
    assert set(found["steps"]) == {3}
    assert seen[-1] == (5, 5)
