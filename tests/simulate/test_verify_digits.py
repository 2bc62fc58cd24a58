"""The main claim on the trained model: every node of every step, short in the fast suite, full as slow tests.

The demo verifies 20 guided steps and 8 images too; docs/VERIFICATION.md holds the figures of five recipes.
"""

import functools

import pytest

import hqsim

SHORT, FULL = (4, 4), (20, 8)
"""Steps and images."""
CHANNEL = ["hqdm-channel-w4a4", "hqdm-channel-w8a8"]
WIDTH = ["hqdm-w4a4", "hqdm-w8a8"]
MIXED = ["hqdm-mixed-w4a3", "hqdm-exponents-w4a4"]


@functools.cache
def _model():
    return hqsim.load_model("digits")


@functools.cache
def _verified(recipe, against, size):
    steps, images = size
    qmodel = hqsim.quantize(_model(), recipe, steps=steps)
    return hqsim.verify(qmodel, steps=steps, images=images, against=against)


@pytest.mark.parametrize("recipe", CHANNEL)
def test_every_code_equals_the_exact_executor(recipe):
    _assert_exact(_verified(recipe, "both", SHORT), SHORT)


@pytest.mark.parametrize("recipe", WIDTH + MIXED)
def test_every_code_of_other_recipes_equals_the_exact_executor(recipe):
    _assert_exact(_verified(recipe, "exact", SHORT), SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", CHANNEL + WIDTH)
def test_every_code_of_a_full_run_equals_the_exact_executor(recipe):
    _assert_exact(_verified(recipe, "both", FULL), FULL)


def _assert_exact(result, size):
    steps, images = size
    exact = result.exact
    executed = [node for node in result.qmodel.graph if node.op != "input"]
    assert len(exact.nodes) == len(executed) + 2  # and the sampler's step and the image
    smallest = min(difference.compared for difference in exact.nodes.values())
    assert smallest >= images * 32 * 32 or smallest >= steps * 2 * images * 32
    assert exact.mismatches == 0
    assert exact.first is None
    assert exact.saturation_differences == 0


@pytest.mark.parametrize("recipe", CHANNEL)
def test_layers_match_fake_quant_when_teacher_forced(recipe):
    result = _verified(recipe, "both", SHORT)
    operands = result.fakequant.operands("teacher-forced")
    limit = 0.1 if recipe.endswith("w4a4") else 1.5
    assert operands.compared > 1e6
    assert operands.mismatch_percent <= limit
    assert operands.max_lsb <= 1
    assert max(result.fakequant.product_error.values()) <= 1e-12
    assert result.passed


@pytest.mark.parametrize("recipe", CHANNEL)
def test_observed_sums_stay_inside_the_proved_bound(recipe):
    layers = _verified(recipe, "both", SHORT).layers
    assert (layers["observed_high"] <= layers["accumulator_bound"]).all()
    assert (layers["observed_low"] >= -layers["accumulator_bound"]).all()
    assert (layers["observed_bits"] <= layers["accumulator_bits"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", CHANNEL)
def test_free_running_is_as_close_to_float_as_fake_quant_is(recipe):
    final = _verified(recipe, "both", FULL).fakequant.final_sqnr_db()
    assert final["integer_against_float"] >= final["fakequant_against_float"] - 0.5


@pytest.mark.slow
@pytest.mark.parametrize("recipe", CHANNEL + WIDTH)
def test_free_running_stays_within_6_db_of_the_control(recipe):
    final = _verified(recipe, "both", FULL).fakequant.final_sqnr_db()
    assert final["integer_against_fakequant"] >= final["control_float32_against_float64"] - 6.0


@pytest.mark.slow
@pytest.mark.parametrize("recipe", WIDTH)
def test_the_papers_transform_matches_fake_quant(recipe):
    result = _verified(recipe, "both", FULL)
    assert [check for check in result.checks() if check.required and not check.passed] == []
