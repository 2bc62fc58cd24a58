"""TFMQ-DM on a tiny model: what is learned is stored, runs are reproducible, a killed one ends the same."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import hqsim
from hqsim.errors import InputError, NumericsError, UnsupportedError
from hqsim.ops import OPERATORS
from hqsim.quantize import load_recipe
from hqsim.quantize.api import quantize_weights
from hqsim.quantize.lower import lower
from hqsim.quantize.recipe import Hadamard
from hqsim.quantize.reconstruction import Reconstruction
from hqsim.train import train
from hqsim.train.reconstruct import UnitReconstruction, beta_at, distance
from hqsim.train.rounding import AdaptiveRounding
from hqsim.train.tfmq import image_batches
from hqsim.train.units import TEMPORAL, reconstruction_units

SMALL = {"steps": 2, "images": 2, "guidance": 1.5, "device": "cpu"}


@pytest.fixture(scope="module")
def recipe():
    """Few rows, many saves, a rate for few updates; symmetric operands, whose search is short."""
    options = Reconstruction(kind="tfmq", batch=4, rate=0.05, calibration_batches=2, checkpoint_every=2)
    recipe = load_recipe("tfmq-w4a8")
    activations = recipe.activations.model_copy(update={"symmetric": True})
    return recipe.model_copy(update={"training": options, "activations": activations})


@pytest.fixture(scope="module")
def trained(tiny_model, recipe):
    return train(tiny_model, recipe, updates=5, **SMALL)


def _bytes(qmodel, folder):
    qmodel.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}


def test_verifies(trained):
    found = hqsim.verify(trained, steps=2, images=1)
    assert (found.mismatches, found.passed) == (0, True)


def test_rounds_only_up_or_down(tiny_model, trained):
    """Every code is the floor or the ceiling of weight / scale, some not the nearest one."""
    untrained = hqsim.quantize(tiny_model, trained.recipe, steps=2, images=1, guidance=1.0)
    moved = 0
    for name, weight in trained.weights.items():
        nearest = untrained.weights[name]
        assert np.array_equal(weight.scales, nearest.scales)
        moved += int(np.count_nonzero(weight.codes != nearest.codes))
        if weight.scales.shape[1] == 1:
            scale = weight.scales.reshape(-1, *[1] * (len(weight.shape) - 1))
            high = 2 ** (weight.bits - 1) - 1
            real = np.clip(tiny_model.parameters[name] / scale, -high, high)
            assert np.abs(weight.codes - real).max() < 1 + 1e-6
    assert moved > 0


def test_says_how_it_was_trained(trained, tmp_path):
    loaded = hqsim.load_quantized(trained.save(tmp_path / "model"))
    settings = loaded.training.settings
    assert (settings["kind"], settings["updates"], settings["seed"]) == ("tfmq", 5, 0)
    assert TEMPORAL in [block["name"] for block in settings["blocks"]]
    header, *rows = (tmp_path / "model" / "training.csv").read_text().splitlines()
    assert header == "block,update,squared_error,penalty"
    assert len(rows) == 5 * len(settings["blocks"])


def test_same_seed_same_bytes(tiny_model, recipe, trained, tmp_path):
    again = train(tiny_model, recipe, updates=5, **SMALL)
    assert _bytes(again, tmp_path / "a") == _bytes(trained, tmp_path / "b")


def test_a_killed_run_ends_with_the_same_bytes(tiny_model, recipe, trained, tmp_path, monkeypatch):
    update, calls = UnitReconstruction.update, itertools.count()

    def kill(self, number):
        if next(calls) == 18:  # In the fourth block, after its save at two updates.
            raise KeyboardInterrupt
        return update(self, number)

    monkeypatch.setattr(UnitReconstruction, "update", kill)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_model, recipe, updates=5, checkpoint=tmp_path / "state", **SMALL)
    made = []
    monkeypatch.setattr(
        UnitReconstruction, "update", lambda self, number: made.append(number) or update(self, number)
    )
    resumed = train(tiny_model, recipe, updates=5, checkpoint=tmp_path / "state", **SMALL)
    assert made[:4] == [2, 3, 4, 0]
    assert _bytes(resumed, tmp_path / "a") == _bytes(trained, tmp_path / "b")


def test_a_checkpoint_of_another_run_is_refused(tiny_model, recipe, tmp_path, monkeypatch):
    update, calls = UnitReconstruction.update, itertools.count()

    def stop(self, number):
        if next(calls) == 1:
            raise SystemExit
        return update(self, number)

    monkeypatch.setattr(UnitReconstruction, "update", stop)
    with pytest.raises(SystemExit):
        train(tiny_model, recipe, updates=1, checkpoint=tmp_path, **SMALL)
    with pytest.raises(InputError, match=r"training: the state is of a training with"):
        train(tiny_model, recipe, updates=2, checkpoint=tmp_path, **SMALL)


def test_the_transformed_domain_is_refused(tiny_model, recipe):
    double = recipe.model_copy(update={"hadamard": Hadamard(kind="double", axis="channel")})
    with pytest.raises(
        UnsupportedError,
        match=r"training\.kind 'tfmq' rounds real weights, but 'time_embedding\.linear_1' is",
    ):
        train(tiny_model, double, updates=1, **SMALL)


def test_exponents_are_refused(tiny_model, recipe):
    changed = recipe.activations.model_copy(update={"exponents": 1, "symmetric": True})
    with pytest.raises(UnsupportedError, match=r"'time_embedding\.linear_1\.operand' has exponents"):
        train(tiny_model, recipe.model_copy(update={"activations": changed}), updates=1, **SMALL)


def test_a_loss_that_is_not_finite_names_its_block(tiny_model, recipe):
    parameters = dict(tiny_model.parameters)
    parameters["time_embedding.linear_1.bias"] = np.full_like(
        parameters["time_embedding.linear_1.bias"], np.nan
    )
    broken = replace(tiny_model, parameters=parameters)
    with pytest.raises(
        NumericsError, match=r"^reconstruction of 'temporal information block': the loss of update 1 "
    ):
        train(broken, recipe, updates=1, **SMALL)


def test_temporal_embeddings_gain(tiny_model, recipe):
    """The temporal information block alone, on every pair of a timestep and a label."""
    lowered = lower(tiny_model.graph, recipe)
    unit = next(unit for unit in reconstruction_units(lowered) if unit.name == TEMPORAL)
    nearest = quantize_weights(tiny_model, lowered)
    layers = {node.parameters.get("weight"): node for node in unit.part}
    names = {name for node in unit.part for name in node.parameters.values()}
    pairs = torch.cartesian_prod(torch.tensor([666, 333, 0]), torch.arange(4))
    task = UnitReconstruction(
        unit,
        {
            name: AdaptiveRounding(layers[name], tiny_model.parameters[name], nearest[name])
            for name in unit.weights
        },
        {name: torch.from_numpy(tiny_model.parameters[name]) for name in names},
        {"timestep": pairs[:, 0], "class_labels": pairs[:, 1]},
        None,
        settings=recipe.training.model_copy(update={"updates": 100, "batch": 12}),
        seed=0,
        device="cpu",
    )
    for update in range(100):
        task.update(update)

    def error(weights):
        return task.error(
            {name: torch.from_numpy(OPERATORS["linear"].real_weight(layers[name], weights[name])).float()
             for name in unit.weights}
        )  # fmt: skip

    assert error(task.codes()) < 0.5 * error(nearest)


@pytest.mark.slow
def test_the_recipe_by_name_with_tables(tiny_model):
    recipe = load_recipe("tfmq-w4a8").model_copy(update={"precompute_temporal": True})
    qmodel = train(tiny_model, recipe, updates=2, **SMALL)
    found = hqsim.verify(qmodel, steps=2, images=1)
    assert (found.mismatches, found.passed) == (0, True)
    assert any(node.op == "temporal_table" for node in qmodel.graph)


def test_exponent_of_the_penalty():
    options = Reconstruction(kind="tfmq")
    assert [beta_at(update, 100, options) for update in (0, 19, 20, 60, 100)] == [None, None, 20.0, 11.0, 2.0]


def test_distance_by_hand():
    """Sums over features and outputs, means over rows and pixels."""
    zero = {"a": torch.zeros(2, 3), "b": torch.zeros(2, 3, 4, 4)}
    ones = {"a": torch.ones(2, 3), "b": torch.full((2, 3, 4, 4), 2.0)}
    assert distance(zero, ones).item() == 3.0 + 3 * 4.0


def test_batches_keep_both_halves_of_an_image():
    inputs = {"sample": torch.tensor([0, 1, 2, 10, 11, 12]), "timestep": torch.arange(6)}
    found = image_batches(inputs, images=3, batches=8)
    assert [batch["sample"].tolist() for batch in found] == [[0, 10], [1, 11], [2, 12]]
    assert [batch["sample"].tolist() for batch in image_batches(inputs, 3, 2)] == [[0, 1, 10, 11], [2, 12]]
