"""The units on a tiny model: quantize, sample in batches, judge; more images build on what is there."""

import json

import numpy as np
import pytest

from benchmarks.methods import plan, units
from benchmarks.methods.journal import Journal, Settings, run_units, select
from benchmarks.methods.plan import Variant
from benchmarks.methods.results import Results
from hqsim.analysis.features import Features
from hqsim.analysis.quality import Judge
from hqsim.simulate import simulate
from hqsim.simulate.metrics import sqnr_db

PTQ = Variant("ptq", "w4a4", False)


class Pixels:
    """A coarse picture as features."""

    name, knows_labels = "coarse pixels", True

    def __call__(self, codes):
        flat = codes[:, 0, ::4, ::4].reshape(len(codes), -1) / 255.0
        return Features(flat, flat[:, :4], np.full((len(codes), 4), 0.25))


@pytest.fixture
def journal(tmp_path, tiny_model, monkeypatch):
    real = np.random.default_rng(0).integers(0, 256, (8, 1, 16, 16)).astype(np.uint8)
    monkeypatch.setattr(units, "_float_model", lambda: tiny_model)
    monkeypatch.setattr(units, "_judge", lambda: Judge(real, Pixels()))
    units._any_quantized.cache_clear()
    yield Journal.open(tmp_path / "work", Settings(updates=2, steps=1, batch=4))
    units._any_quantized.cache_clear()


def test_a_variant_is_judged_against_the_float_model_from_the_same_seeds(journal, tiny_model):
    unit = units.judge_unit(journal, PTQ, 8)
    assert run_units(journal, select(journal, [unit], "")) == {}
    figures = Results(journal, 8, 8).figures(PTQ)
    qmodel = units._quantized(journal.path(units.ModelUnit(PTQ)) / "model")
    latents = [
        np.concatenate(
            [simulate(qmodel, executor=name, images=4, steps=1, seed=seed).latents for seed in (0, 1)]
        )
        for name in ("float", "integer")
    ]
    assert figures["sqnr_db"].value == pytest.approx(sqnr_db(*latents), rel=1e-5)
    record = json.loads((journal.path(unit) / "figures.json").read_text())
    assert (record["extractor"], record["images"]) == ("coarse pixels", 8)


def test_more_images_take_the_batches_that_are_there(journal, capsys):
    run_units(journal, select(journal, [units.judge_unit(journal, PTQ, 4)], ""))
    capsys.readouterr()
    run_units(journal, select(journal, [units.judge_unit(journal, PTQ, 10)], ""))
    done = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert done == [
        "samples/float/float-001", "samples/float/float-002",
        "samples/ptq-w4a4/integer-001", "samples/ptq-w4a4/integer-002", "figures/ptq-w4a4/10-images",
    ]  # fmt: skip


def test_training_gets_the_budget_and_a_folder_for_its_state(journal, monkeypatch, tiny_qmodel):
    calls = []

    def fake(model, recipe, **options):
        calls.append((recipe.name, options))
        options["checkpoint"].mkdir(parents=True)
        return tiny_qmodel

    monkeypatch.setattr("hqsim.quantize", fake)
    unit = units.ModelUnit(Variant("hqdm", "w4a4", True))
    assert run_units(journal, [unit]) == {}
    state = journal.folder / "state" / "hqdm-w4a4"
    folders = {"checkpoint": state, "lessons": journal.folder / "lessons"}
    assert calls == [("hqdm-w4a4", {"seed": 0, "steps": 1, "train": 2, **folders})]
    assert not state.exists(), "the state is removed when the model is complete"
    assert run_units(journal, [units.ModelUnit(Variant("hqdm", "w4a4", True, budgets=4))]) == {}
    assert calls[1][1]["train"] == 8


def test_hyper_parameters_are_changed_where_a_recipe_distils():
    changed = plan.with_training(Variant("hqdm", "w4a4", True).recipe, {"trajectory_steps": None})
    assert changed.training.trajectory_steps is None
    assert changed.hadamard == Variant("hqdm", "w4a4", True).recipe.hadamard
    faster = plan.with_training(Variant("hqdm", "w4a4", True).recipe, {"lora_rate": 0.0016}).training
    assert faster.resized(2000, 20).trajectory_steps is None, "a shorter run decides the trajectory"
    fixed = plan.with_training(Variant("hqdm", "w4a4", True).recipe, {"trajectory_steps": 100}).training
    assert fixed.resized(2000, 20).trajectory_steps == 100
    plain = PTQ.recipe
    assert plan.with_training(plain, {"trajectory_steps": None}) is plain
    with pytest.raises(ValueError, match="no_such_rate"):
        plan.with_training(Variant("hqdm", "w4a4", True).recipe, {"no_such_rate": 1.0})


def test_the_low_rank_rate_counts_in_steps_of_four_bits_above_them(journal, monkeypatch, tiny_qmodel):
    trained = {}
    monkeypatch.setattr(
        "hqsim.quantize", lambda _, recipe, **__: trained.setdefault(recipe.name, recipe) and tiny_qmodel
    )
    variants = [Variant("hqdm", widths, True) for widths in ("w4a4", "w8a4", "w4a8", "w2a4")]
    assert run_units(journal, [units.ModelUnit(variant) for variant in variants]) == {}
    rates = [(r.training.lora_rate * 2500, r.training.activation_scale_rate) for r in trained.values()]
    assert rates == [(1.0, 5e-4), (16.0, 5e-4), (1.0, 5e-4), (1.0, 5e-4)]


def test_a_width_with_a_rate_of_its_own_is_not_taken_for_one_without():
    assert PTQ.lora_factor == Variant("hqdm", "w8a8", False).lora_factor == 1
    keys = {Variant("hqdm", widths, trained).key for widths in ("w8a8", "w4a4") for trained in (True, False)}
    assert len(keys) == 3, "at 4 bits the rates are the recipe's own"
