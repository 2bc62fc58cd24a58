"""SQNR of layers against formulas in numpy, and what must hold between its measures."""

import numpy as np
import pandas as pd
import pytest
import torch

import hqsim
from hqsim.analysis.layer_sqnr import first_and_last_step, layer_sqnr
from hqsim.ops.ddim import noise_codes
from hqsim.quantize.torch_model import TorchModel
from hqsim.simulate.verify import matrix_layers

SMALL = {"steps": 3, "images": 2, "guidance": 1.0}
LAYER = "transformer_blocks.1.ff.net.0.proj"


@pytest.fixture(scope="module")
def qmodel(tiny_dit):
    return hqsim.quantize(tiny_dit, "ditptq-w4a8", **SMALL)


@pytest.fixture(scope="module")
def layers(qmodel):
    return layer_sqnr(qmodel, **SMALL)


def _sqnr_db(reference, value):
    return 10 * np.log10(np.square(reference).sum() / np.square(reference - value).sum())


def test_every_layer_at_every_step(qmodel, layers):
    assert layers.columns.tolist() == [
        "layer",
        "op",
        "step",
        "timestep",
        "operand_sqnr_db",
        "alone_sqnr_db",
        "network_sqnr_db",
    ]
    names = [node.name for node in matrix_layers(qmodel)]
    for step, timestep in enumerate((666, 333, 0)):
        part = layers[layers["step"] == step]
        assert part["layer"].tolist() == names
        assert set(part["timestep"]) == {timestep}
    assert np.isfinite(layers.filter(like="sqnr_db")).all(axis=None)


def test_a_layer_alone_is_what_numpy_makes_of_it(tiny_dit, qmodel, layers):
    """First step: the float model's input of one linear layer, its codes by hand, its product in float64."""
    noise = noise_codes(seed=0, images=2, shape=tiny_dit.sample_shape, sample=qmodel.formats["sample"])
    inputs = {
        "sample": torch.from_numpy(noise * 2.0**-20).float(),
        "timestep": torch.tensor([666, 666]),
        "class_labels": torch.tensor([0, 1]),
    }
    values = {
        visit.node.name: visit for visit in TorchModel(qmodel.graph, tiny_dit.parameters).walk(inputs, 0)
    }
    x = values[f"{LAYER}.operand"].value.double().numpy()
    scale = qmodel.formats[f"{LAYER}.operand"].scale
    operand = np.clip(np.floor(x / scale + 0.5), -128, 127) * scale
    weight = qmodel.weights[f"{LAYER}.weight"]
    product = operand @ (weight.codes * weight.scales).T + tiny_dit.parameters[f"{LAYER}.bias"]
    (row,) = layers[(layers["layer"] == LAYER) & (layers["step"] == 0)].to_dict("records")
    assert row["operand_sqnr_db"] == pytest.approx(_sqnr_db(x, operand), abs=1e-2)
    assert row["alone_sqnr_db"] == pytest.approx(
        _sqnr_db(values[LAYER].value.double().numpy(), product), abs=1e-2
    )


def test_nothing_arrives_at_the_first_layer(layers):
    """All that separates its two measures is the 16-bit carrier."""
    first = layers[layers["layer"] == "pos_embed.proj"]
    assert len(first) == 3
    np.testing.assert_allclose(first["network_sqnr_db"], first["alone_sqnr_db"], atol=0.1)


def test_a_late_layer_has_the_errors_of_those_before_it(layers):
    last = layers[layers["layer"] == layers["layer"].iloc[-1]]
    assert (last["network_sqnr_db"] < last["alone_sqnr_db"] - 3).all()


def test_finer_operands_are_closer(tiny_dit, layers):
    coarse = layer_sqnr(hqsim.quantize(tiny_dit, "ditptq-w4a4", **SMALL), **SMALL)
    inner = layers["operand_sqnr_db"] != coarse["operand_sqnr_db"]  # first and last layer have 8 bits in both
    gain = (layers["operand_sqnr_db"] - coarse["operand_sqnr_db"])[inner]
    assert gain.median() == pytest.approx(4 * 6.02, abs=5)


def test_the_tables_of_a_temporal_block_are_skipped(tiny_model):
    """Layers that a model replaced by tables are in its float model alone."""
    recipe = hqsim.load_recipe("ptq-w8a8").model_copy(update={"precompute_temporal": True})
    qmodel = hqsim.quantize(tiny_model, recipe, **SMALL)
    found = layer_sqnr(qmodel, **SMALL)
    assert set(found["layer"]) == {node.name for node in matrix_layers(qmodel)}


def test_first_and_last_step():
    layers = pd.DataFrame(
        {
            "layer": ["a", "b"] * 3,
            "step": [0, 0, 1, 1, 2, 2],
            "alone_sqnr_db": [30.0, 20.0, 0.0, 0.0, 25.0, 21.0],
        }
    )
    assert first_and_last_step(layers).to_dict("list") == {
        "layer": ["a", "b"],
        "first_alone_sqnr_db": [30.0, 20.0],
        "last_alone_sqnr_db": [25.0, 21.0],
        "change_alone_sqnr_db": [-5.0, 1.0],
    }
