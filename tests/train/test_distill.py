"""Training runs, from the recipe to the artefact: tiny model, few updates."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import hqsim
from hqsim.analysis.estimate import records_of
from hqsim.errors import InputError, NumericsError, UnsupportedError
from hqsim.ops.ddim import step_real
from hqsim.quantize import load_quantized, load_recipe
from hqsim.train import distill, train
from hqsim.train.student import visits
from hqsim.train.teacher import step_weights

SMALL = {"steps": 2, "images": 1, "guidance": 1.5}


def _recipe(name="hqdm-w4a4", **changes):
    recipe = load_recipe(name)
    options = {"trajectory_steps": None, "batch": 1, "lora_rank": 2, "checkpoint_every": 3, **changes}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=options)})


def _bytes(qmodel, folder):
    qmodel.save(folder)
    return [(folder / name).read_bytes() for name in ("model.safetensors", "config.json", "training.csv")]


@pytest.fixture(scope="module")
def trained(tiny_model):
    return train(tiny_model, _recipe(), updates=6, **SMALL)


def test_training_moves_what_it_should(tiny_model, trained):
    start = hqsim.quantize(tiny_model, _recipe(), **SMALL)
    name = "mid_block.resnets.0.conv1"
    assert trained.formats[f"{name}.operand"].scales != start.formats[f"{name}.operand"].scales
    assert (trained.weights[f"{name}.weight"].codes != start.weights[f"{name}.weight"].codes).any()
    assert trained.timesteps == start.timesteps
    distances = trained.training.settings["noise_sqnr_db"]
    assert distances.keys() == {"start", "learned", "exported"}


def test_a_trained_model_is_saved_with_its_curve(trained, tmp_path):
    trained.save(tmp_path / "q")
    config = json.loads((tmp_path / "q" / "config.json").read_text())
    assert config["training"]["kind"] == "distill"
    assert config["training"]["updates"] == 6
    header, *rows = (tmp_path / "q" / "training.csv").read_text().splitlines()
    assert header == "update,loss,sqnr_db"
    assert [row.split(",")[0] for row in rows] == ["2", "4", "6"]
    again = load_quantized(tmp_path / "q")
    assert again.training.settings == trained.training.settings
    np.testing.assert_array_equal(again.training.curve, trained.training.curve)
    assert _bytes(again, tmp_path / "again") == [
        (tmp_path / "q" / name).read_bytes() for name in ("model.safetensors", "config.json", "training.csv")
    ]


def test_a_killed_run_resumes_to_the_same_bytes(tiny_model, trained, tmp_path):
    """Killed between two checkpoints, within a trajectory of two steps."""
    recipe = _recipe()

    def stop(label, done, total):
        if label == "train" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny_model, recipe, updates=6, checkpoint=tmp_path / "state", progress=stop, **SMALL)
    told = []
    resumed = train(
        tiny_model,
        recipe,
        updates=6,
        checkpoint=tmp_path / "state",
        progress=lambda *call: told.append(call),
        **SMALL,
    )
    assert [done for label, done, _ in told if label == "train"] == [3, 4, 5, 6]
    assert _bytes(resumed, tmp_path / "a") == _bytes(trained, tmp_path / "b")


def test_lessons_are_kept_for_another_recipe(tiny_model, tmp_path, monkeypatch):
    """The second training does not run the teacher, and ends where it ends with one; another graph, too."""
    lessons, other = tmp_path / "lessons", _recipe("efficientdm-w4a4")
    split = other.activations.model_copy(update={"split_shortcut": True})
    other = other.model_copy(update={"activations": split})
    train(tiny_model, _recipe(), updates=5, lessons=lessons, **SMALL)
    alone = train(tiny_model, other, updates=5, **SMALL)
    asked = []

    def watched(*arguments):
        asked.append(arguments)
        return visits(*arguments)

    monkeypatch.setattr(distill, "visits", watched)
    taught = train(tiny_model, other, updates=5, lessons=lessons, **SMALL)
    assert len(asked) == 1  # Update 5: the first half of a trajectory, which the first training did not end.
    assert _bytes(taught, tmp_path / "a") == _bytes(alone, tmp_path / "b")


def test_lessons_of_another_seed_are_not_taken(tiny_model, trained, tmp_path):
    train(tiny_model, _recipe(), updates=2, lessons=tmp_path / "lessons", seed=1, **SMALL)
    found = train(tiny_model, _recipe(), updates=6, lessons=tmp_path / "lessons", **SMALL)
    assert _bytes(found, tmp_path / "a") == _bytes(trained, tmp_path / "b")


def test_lessons_of_another_schedule_are_not_taken(tiny_model, tmp_path):
    """The same weights walk other trajectories."""
    slower = replace(tiny_model.schedule, alphas_cumprod=tiny_model.schedule.alphas_cumprod * 0.9)
    other = replace(tiny_model, schedule=slower)
    assert other.digest == tiny_model.digest
    train(tiny_model, _recipe(), updates=2, lessons=tmp_path / "lessons", **SMALL)
    taught = train(other, _recipe(), updates=2, lessons=tmp_path / "lessons", **SMALL)
    alone = train(other, _recipe(), updates=2, **SMALL)
    assert _bytes(taught, tmp_path / "a") == _bytes(alone, tmp_path / "b")


def test_a_state_of_another_run_is_refused(tiny_model, tmp_path):
    train(tiny_model, _recipe(), updates=1, checkpoint=tmp_path / "state", **SMALL)
    with pytest.raises(InputError, match=r"state\.safetensors: training: the state is of a training with"):
        train(tiny_model, _recipe(), updates=2, checkpoint=tmp_path / "state", **SMALL)


def test_a_state_of_another_schedule_is_refused(tiny_model, tmp_path):
    train(tiny_model, _recipe(), updates=1, checkpoint=tmp_path / "state", **SMALL)
    other = replace(tiny_model, schedule=replace(tiny_model.schedule, final_alpha=0.9))
    with pytest.raises(InputError, match=r"state\.safetensors: schedule: the state is of a training with"):
        train(other, _recipe(), updates=1, checkpoint=tmp_path / "state", **SMALL)


def test_the_loss_of_the_sample_counts_what_a_step_makes_of_the_noise(tiny_model):
    """Against the step itself, which is linear where nothing is clipped."""
    steps = [replace(step, clip=None) for step in tiny_model.schedule.steps(4)]
    x, noise, error = torch.randn(3, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = [float((step_real(x, noise + error, s) - step_real(x, noise, s)).square().sum()) for s in steps]
    weights = step_weights(steps, "sample")
    assert weights == pytest.approx([4 * each / sum(moved) for each in moved])
    assert step_weights(steps, "noise") == [1.0] * 4


def test_the_loss_decides_what_is_learned(tiny_model, trained, tmp_path):
    other = train(tiny_model, _recipe(loss="sample"), updates=6, **SMALL)
    assert other.recipe.training.loss == "sample"
    weights = [_bytes(qmodel, tmp_path / name)[0] for qmodel, name in ((other, "a"), (trained, "b"))]
    assert weights[0] != weights[1]


def test_a_finer_trajectory_keeps_every_second_entry(tiny_model):
    """Three steps are the timesteps 666, 333, 0, which lack the 500 of two; four have it."""
    with pytest.raises(InputError, match=r"^training\.trajectory_steps: got 3, whose timesteps lack 500 of"):
        train(tiny_model, _recipe(trajectory_steps=3), updates=1, **SMALL)
    qmodel = train(tiny_model, _recipe(trajectory_steps=4), updates=1, **SMALL)
    assert qmodel.timesteps == (500, 0)
    assert {len(f.scales) for name, f in qmodel.formats.items() if name.endswith("conv1.operand")} == {2}


def test_quantize_trains_too(tiny_model, trained, tmp_path):
    found = hqsim.quantize(tiny_model, _recipe(), train=6, **SMALL)
    assert _bytes(found, tmp_path / "a") == _bytes(trained, tmp_path / "b")


def test_excepted_layers_keep_their_weights(tiny_model):
    recipe = _recipe("efficientdm-w4a4")
    found = train(tiny_model, recipe, updates=2, **SMALL)
    for layer in ("time_embedding.linear_1", "time_embedding.linear_2", "conv_in", "conv_out"):
        new, real = found.weights[f"{layer}.weight"], tiny_model.parameters[f"{layer}.weight"]
        assert new.bits == 8
        steps = real / new.scales.reshape(-1, *[1] * (real.ndim - 1))
        assert np.abs(np.clip(steps, -127, 127) - new.codes).max() <= 0.5 + 1e-6


def test_rates_that_explode_name_update_and_layer(tiny_model):
    """Rates beyond what the schema allows."""
    recipe = _recipe(lora_rate=1e30)
    with pytest.raises(
        NumericsError, match=r"^\S+: not finite in update \d+ of the training \(timestep \d+\)"
    ):
        train(tiny_model, recipe, updates=20, **SMALL)


def test_what_cannot_be_trained(tiny_model):
    with pytest.raises(InputError, match=r"^recipe 'ptq-w4a4': training: the recipe has none"):
        train(tiny_model, "ptq-w4a4", updates=1, **SMALL)
    with pytest.raises(InputError, match=r"^updates: got 0, allowed 1 and more$"):
        train(tiny_model, "hqdm-w4a4", updates=0, **SMALL)
    changes = {"weight_scales": "per_timestep", "weight_storage": "codes_per_step"}
    with pytest.raises(UnsupportedError, match=r"training\.weight_storage: got 'codes_per_step'"):
        train(tiny_model, _recipe(**changes), updates=1, **SMALL)


@pytest.fixture(scope="module")
def stepped(tiny_model):
    """Four entries, of which the export keeps every second one."""
    return train(tiny_model, _recipe(weight_scales="per_timestep", trajectory_steps=4), updates=4, **SMALL)


def test_weight_scales_per_timestep_verify_and_are_kept(stepped, tmp_path):
    """Integer against exact, and against fake-quant, whose weights change with the timestep too."""
    stepped.save(tmp_path / "q")
    loaded = load_quantized(tmp_path / "q")
    result = hqsim.verify(loaded, steps=2, images=1)
    assert result.mismatches == 0
    assert result.passed
    assert _bytes(loaded, tmp_path / "again") == _bytes(stepped, tmp_path / "q2")
    for name, weight in loaded.weights.items():
        assert weight.scales.shape == (2, weight.shape[0], 1)
        assert (weight.scales[0] != weight.scales[1]).any(), name


def test_weight_scales_per_timestep_are_stored_as_factors(trained, stepped):
    """One set of codes; a factor of 3 bytes per entry and output, which operands per timestep need anyway."""
    codes = [sum(weight.packed.nbytes for weight in found.weights.values()) for found in (stepped, trained)]
    assert codes[0] == codes[1]
    outputs = sum(weight.shape[0] for weight in stepped.weights.values())
    layers = {node.name for node in stepped.graph if node.parameters.get("weight") in stepped.weights}
    factors = sum(stepped.arrays[name]["multiplier"].size for name in layers)
    assert factors == 2 * outputs
    records = [
        record
        for record in records_of(stepped, recipe=None, batch=1, guidance=None, steps=2)
        if record.name in layers
    ]
    assert sum(record.table_bytes_all_steps for record in records) == (2 * 3 + 4) * outputs


def test_weight_scales_per_timestep_in_a_temporal_table(tiny_model):
    recipe = _recipe(weight_scales="per_timestep").model_copy(update={"precompute_temporal": True})
    qmodel = train(tiny_model, recipe, updates=2, **SMALL)
    assert any(node.op == "temporal_table" for node in qmodel.graph)
    assert hqsim.verify(qmodel, steps=2, images=1).mismatches == 0


def test_calibration_alone_leaves_weight_scales_static(tiny_model):
    qmodel = hqsim.quantize(tiny_model, _recipe(weight_scales="per_timestep"), **SMALL)
    assert {weight.scales.ndim for weight in qmodel.weights.values()} == {2}
    assert not any("per_timestep" in node.attributes for node in qmodel.graph if node.op == "conv2d")
