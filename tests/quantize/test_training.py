"""The section ``training``: what it allows, and how a run shorter than the recipe's is made."""

import pytest

from hqsim.errors import InputError
from hqsim.quantize import load_recipe
from hqsim.quantize.training import Distillation


def test_a_shorter_run_lets_parameters_go_as_far():
    """2,000 of 16,000 updates; an entry of 20 meets 100 of them instead of 160."""
    found = Distillation().resized(2000, 20)
    assert (found.updates, found.trajectory_steps) == (2000, None)
    assert found.lora_rate == pytest.approx(8 / 2500)
    assert found.weight_scale_rate == pytest.approx(8e-6)
    assert found.activation_scale_rate == pytest.approx(5e-4 * 160 / 100)


def test_a_given_trajectory_stays():
    found = Distillation(trajectory_steps=100).resized(2000, 20)
    assert found.trajectory_steps == 100
    assert found.activation_scale_rate == pytest.approx(5e-4 * 8)


def test_rates_rise_64_times_at_most():
    assert Distillation().resized(1, 20).lora_rate == pytest.approx(64 / 2500)


@pytest.mark.parametrize("updates", [16_000, 32_000])
def test_as_long_or_longer_keeps_everything_else(updates):
    assert Distillation().resized(updates, 20) == Distillation(updates=updates)


DISTILLED = [
    "hqdm-w4a4",
    "hqdm-channel-w4a3",
    "hqdm-mixed-w4a3",
    "hqdm-exponents-w4a4",
    "efficientdm-w4a4",
    "double-w2a4",
]


@pytest.mark.parametrize("name", DISTILLED)
def test_these_recipes_distil(name):
    assert load_recipe(name).training == Distillation()


def test_an_unknown_key(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("training: {kind: distill, epochs: 3}\n")
    with pytest.raises(InputError, match="epochs"):
        load_recipe(path)
