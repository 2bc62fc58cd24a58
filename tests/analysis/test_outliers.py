"""Outliers of a small model against numpy on the float model's own values, and planted cases."""

import dataclasses

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from hqsim.analysis.outliers import HISTOGRAM_EDGES, _limits, _Seen, outliers, transformed
from hqsim.analysis.ranking import worsened, worst_channels
from hqsim.errors import NumericsError
from hqsim.graph import Node, TensorType
from hqsim.numerics import Format, Transform, block_signs
from hqsim.quantize.torch_model import TorchModel
from hqsim.simulate.sampler import initial_noise, resolve_settings
from hqsim.simulate.verify import matrix_layers

RANDOM = np.random.default_rng(3)
TRANSFORMS = {
    "none": None,
    "width-k5": Transform("width", 5, signs=False),
    "channel-k3": Transform("channel", 3, signs=False),
    "recipe": Transform("width", 5, signs=False),
}


def _settings(qmodel, images=2, steps=2):
    return resolve_settings(qmodel, labels=None, images=images, steps=steps, guidance=1.0, seed=0)


@pytest.fixture(scope="module")
def found(tiny_qmodel):
    return outliers(tiny_qmodel, _settings(tiny_qmodel), lambda *_: None)


@pytest.fixture(scope="module")
def first_values(tiny_qmodel, tiny_model):
    """Every value of the float model's first step, by node."""
    settings = _settings(tiny_qmodel)
    x = torch.from_numpy(initial_noise(tiny_qmodel, settings) * 2.0**-20).float()
    timestep = torch.tensor([int(tiny_model.schedule.timesteps(2)[0])] * 2)
    inputs = {"sample": x, "timestep": timestep, "class_labels": torch.tensor([0, 1])}
    model = TorchModel(tiny_qmodel.graph, tiny_model.parameters)
    return {visit.node.name: visit.value.numpy() for visit in model.walk(inputs, 0)}


def test_a_row_per_operand_step_and_transform(tiny_qmodel, found):
    activations, weights, _ = found
    layers = matrix_layers(tiny_qmodel)
    assert list(dict.fromkeys(activations["layer"])) == [node.name for node in layers]
    assert list(dict.fromkeys(weights["layer"])) == [node.name for node in layers if node.op != "matmul"]
    images = activations[activations["layer"] == "down_blocks.0.resnets.0.conv1"]
    names = ["none", "width-k5", "width-k5-signs", "channel-k3", "channel-k3-signs", "recipe"]
    assert images["transform"].tolist() == names * 2
    assert images["step"].tolist() == [0] * 6 + [1] * 6
    linear = activations[activations["layer"] == "time_embedding.linear_1"]
    assert set(linear["transform"]) == {"none", "channel-k3", "channel-k3-signs", "recipe"}
    attention = activations[activations["layer"].str.endswith(".pv")]
    assert set(zip(attention["operand"], attention["transform"], strict=True)) == {
        (operand, name) for operand in (0, 1) for name in ("none", "recipe")
    }
    # One channel cannot be transformed along the channels.
    first = activations[activations["layer"] == "conv_in"]
    assert set(first["transform"]) == {"none", "width-k5", "width-k5-signs", "recipe"}


def test_figures_are_those_of_the_values(tiny_qmodel, found, first_values):
    activations, _, arrays = found
    name = "down_blocks.0.resnets.0.conv1"
    x = first_values[f"{name}.operand"].astype(np.float64)
    rows = activations[(activations["layer"] == name) & (activations["step"] == 0)].set_index("transform")
    plain = rows.loc["none"]
    assert plain["values"] == x.size
    assert plain["absolute_maximum"] == pytest.approx(np.abs(x).max(), rel=1e-6)
    assert plain["rms"] == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-6)
    assert plain["kurtosis"] == pytest.approx(scipy.stats.kurtosis(x, axis=None, fisher=False), rel=1e-6)
    assert arrays[f"maxima/{name}/0/none/channel"].shape == (8,)
    assert arrays[f"maxima/{name}/0/none/width"].shape == (16,)
    assert (arrays[f"maxima/{name}/0/none/channel"] >= np.abs(x).max(axis=(0, 2, 3)) * 0.999999).all()
    # Rows of 16 allow an order of 4, of what is called k5.
    spread = x @ scipy.linalg.hadamard(16) / 4
    assert rows.loc["width-k5", "absolute_maximum"] == pytest.approx(np.abs(spread).max(), rel=1e-5)
    assert rows["rms"].tolist() == pytest.approx([plain["rms"]] * 6, rel=1e-5)
    operand = tiny_qmodel.formats[f"{name}.operand"]
    codes = np.floor(spread * 4 / operand.scale_at(tiny_qmodel.entry_of(int(plain["timestep"]))) + 0.5)
    clipped = 100 * np.mean((codes < operand.low) | (codes > operand.high))
    assert rows.loc["recipe", "clipped_percent"] == pytest.approx(clipped, abs=100 * 2 / x.size)
    assert rows.drop("recipe")["clipped_percent"].isna().all()


def test_weights_under_a_double_transform(tiny_qmodel, tiny_model, found):
    _, weights, arrays = found
    name = "up_blocks.0.resnets.0.conv1"
    real = tiny_model.parameters[f"{name}.weight"].astype(np.float64)
    rows = weights[weights["layer"] == name].set_index("transform")
    assert rows.index.tolist() == ["none", "channel-k5", "channel-k5-signs", "recipe"]
    assert real.shape[1] == 32
    signed = np.einsum("oihw,ij->ojhw", real, np.diag(block_signs(5)) @ scipy.linalg.hadamard(32)) / 32**0.5
    assert rows.loc["channel-k5-signs", "absolute_maximum"] == pytest.approx(np.abs(signed).max(), rel=1e-5)
    np.testing.assert_allclose(
        arrays[f"maxima/{name}/weight/none/channel"], np.abs(real).max(axis=(0, 2, 3)), rtol=1e-6
    )
    weight = tiny_qmodel.weights[f"{name}.weight"]
    outside = np.abs(real) > 7.5 * weight.scales[:, :, None, None]
    assert rows.loc["recipe", "clipped_percent"] == pytest.approx(100 * outside.mean())


def test_histograms_count_every_value(found):
    activations, weights, arrays = found
    np.testing.assert_array_equal(arrays["histogram_edges"], HISTOGRAM_EDGES)
    seen = activations.groupby(["layer", "operand", "transform"])["values"].sum()
    for (layer, operand, transform), values in seen.items():
        assert arrays[f"histogram/{layer}/{operand}/{transform}"].sum() == values
    for row in weights.to_dict("records"):
        assert arrays[f"histogram/{row['layer']}/weight/{row['transform']}"].sum() == row["values"]


def test_parts_of_a_batch_are_one_sample(tiny_qmodel, monkeypatch, found):
    """Two images one after the other: float sums of single images differ in the last bits alone."""
    monkeypatch.setattr("hqsim.simulate.sampler.CHUNK", 1)
    monkeypatch.setattr("hqsim.analysis.outliers._weight_rows", lambda *_: [])
    activations, _, arrays = outliers(tiny_qmodel, _settings(tiny_qmodel), lambda *_: None)
    whole = found[0]
    assert activations["values"].tolist() == whole["values"].tolist()
    for column in ("absolute_maximum", "rms", "kurtosis"):
        np.testing.assert_allclose(activations[column], whole[column], rtol=2e-3)
    np.testing.assert_allclose(activations["sqnr_4bit_db"], whole["sqnr_4bit_db"], atol=0.2)
    assert arrays.keys() == {name for name in found[2] if "/weight/" not in name}


def _seen(x: np.ndarray) -> tuple[list[dict], dict[str, np.ndarray]]:
    seen = _Seen("layer", 0, 1, TRANSFORMS, {})
    seen.add(torch.from_numpy(x.astype(np.float32)), -np.inf, np.inf)
    return [{"layer": "layer", "operand": 0, **row} for row in seen.rows()], seen.arrays


def test_a_planted_outlier_channel_is_ranked_first():
    x = RANDOM.normal(0, 1, (2, 16, 8, 32))
    x[:, 11] *= 30
    rows, arrays = _seen(x)
    worst = worst_channels(arrays)
    assert (worst.loc[0, "layer"], worst.loc[0, "operand"], worst.loc[0, "channel"]) == ("layer", 0, 11)
    assert worst.loc[0, "maximum"] == np.float32(np.abs(x[:, 11]).max())
    assert worst.loc[0, "times_median"] > 20 > 3 > worst.loc[1, "times_median"]
    crest = {row["transform"]: row["crest"] for row in rows}
    assert crest["channel-k3"] < crest["none"] / 2
    assert crest["width-k5"] == pytest.approx(crest["none"], rel=0.5)


def test_smooth_rows_are_worse_off_along_the_width():
    """Their energy gathers in coefficient 0 of each block, beside which the rest falls below one code."""
    import pandas as pd

    x = RANDOM.normal(0, 1, (2, 16, 8, 1)) + RANDOM.normal(0, 0.3, (2, 16, 8, 32))
    rows, _ = _seen(x)
    worse = worsened(pd.DataFrame(rows), by_db=2.0)
    assert worse[["layer", "operand"]].drop_duplicates().to_numpy().tolist() == [["layer", 0]]
    assert worse["transform"].tolist() == ["width-k5", "recipe"]
    assert (worse["change_db"] < -3).all()
    assert (worse["crest_after"] > 2 * worse["crest_before"]).all()


def test_worsened_by_hand():
    import pandas as pd

    def rows(layer, transform, sqnr):
        return [
            {"layer": layer, "operand": 0, "transform": transform, "crest": 4.0, "sqnr_4bit_db": value}
            for value in sqnr
        ]

    table = pd.DataFrame(
        rows("a", "none", [20.0, 22.0])
        + rows("a", "width-k5", [17.0, 21.0])
        + rows("b", "none", [20.0, 20.0])
        + rows("b", "width-k5", [25.0, 25.0])
        + rows("c", "none", [10.0, np.inf])
        + rows("c", "width-k5", [4.0, np.inf])
    )
    worse = worsened(table)
    assert worse[["layer", "change_db"]].to_numpy().tolist() == [["c", -6.0], ["a", -2.0]]
    assert worsened(table, by_db=3.0)["layer"].tolist() == ["c"]
    assert worsened(pd.DataFrame()).empty


def test_transforms_keep_the_energy_and_their_signs():
    x = torch.arange(16, dtype=torch.float32).reshape(1, 8, 1, 2)
    along = transformed(x, Transform("channel", 3, signs=True), 1).numpy()
    expected = np.einsum("bihw,ij->bjhw", x.numpy(), np.diag(block_signs(3)) @ scipy.linalg.hadamard(8))
    np.testing.assert_allclose(along, expected / 8**0.5, rtol=1e-6)
    assert transformed(x, None, 1) is x


def test_a_value_that_is_not_finite_names_its_layer(tiny_model, tiny_qmodel):
    parameters = dict(tiny_model.parameters)
    parameters["conv_in.bias"] = np.full_like(parameters["conv_in.bias"], np.nan)
    broken = dataclasses.replace(tiny_qmodel)
    broken.__dict__["source"] = dataclasses.replace(tiny_model, parameters=parameters)
    with pytest.raises(NumericsError, match=r"^down_blocks\.0\.resnets\.0\.\w+, operand 0: statistics are"):
        outliers(broken, _settings(broken), lambda *_: None)


def test_limits_of_codes_by_hand():
    """Codes 0 to 15 around 3, half a unit each: -3.5 and 12.5 halves; over sqrt(16) behind order 4."""
    codes = Format(bits=4, scales=(0.5,), signed=False, zero_points=(3,))
    attributes = {"hadamard_axis": "width", "hadamard_order": 4, "hadamard_signs": False}
    for order, length in ((0, 1.0), (4, 4.0)):
        node = Node("q", "quantize", (), TensorType(()), {**attributes, "hadamard_order": order})
        assert _limits({"q": codes}, node, 0, torch.empty(1, 16)) == (-1.75 / length, 6.25 / length)


def test_limits_of_codes_with_exponents_by_hand():
    """Codes -8 to 7 of half a unit, and of two units where the exponent is 2."""
    codes = Format(bits=4, scales=(0.5,), exponents=(0, 2))
    node = Node("q", "quantize", (), TensorType(()), {"channel_axis": 1})
    low, high = _limits({"q": codes}, node, 0, torch.empty(3, 2, 5, 5))
    assert low.flatten().tolist() == [-4.25, -17.0]
    assert high.flatten().tolist() == [3.75, 15.0]
    assert low.shape == (1, 2, 1, 1)
