"""The main claim on the trained model: 20 guided steps, 8 images, every node of every step."""

import functools

import pytest

import hqsim

STEPS, IMAGES = 20, 8
FULL = ["hqdm-channel-w4a4", "hqdm-channel-w8a8"]
EXACT_ONLY = ["hqdm-w4a4", "hqdm-w8a8"]


@functools.cache
def _model():
    return hqsim.load_model("digits")


@functools.cache
def _verified(recipe, against, steps=STEPS, images=IMAGES):
    qmodel = hqsim.quantize(_model(), recipe, steps=steps)
    return hqsim.verify(qmodel, steps=steps, images=images, against=against)


@pytest.mark.parametrize("recipe", FULL)
def test_every_code_equals_the_exact_executor(recipe):
    _assert_exact(_verified(recipe, "both"))


@pytest.mark.parametrize("recipe", EXACT_ONLY)
def test_a_short_run_equals_the_exact_executor_with_other_transforms(recipe):
    _assert_exact(_verified(recipe, "exact", 4, 2), 4, 2)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", EXACT_ONLY)
def test_every_code_equals_the_exact_executor_with_other_transforms(recipe):
    _assert_exact(_verified(recipe, "both"))


def _assert_exact(result, steps=STEPS, images=IMAGES):
    exact = result.exact
    executed = [node for node in result.qmodel.graph if node.op != "input"]
    assert len(exact.nodes) == len(executed) + 2  # and the sampler's step and the image
    smallest = min(difference.compared for difference in exact.nodes.values())
    assert smallest >= images * 32 * 32 or smallest >= steps * 2 * images * 32
    assert exact.mismatches == 0
    assert exact.first is None
    assert exact.saturation_differences == 0


@pytest.mark.parametrize("recipe", FULL)
def test_layers_match_fake_quant_when_teacher_forced(recipe):
    result = _verified(recipe, "both")
    operands = result.fakequant.operands("teacher-forced")
    limit = 0.1 if recipe.endswith("w4a4") else 1.5
    assert operands.compared > 1e6
    assert operands.mismatch_percent <= limit
    assert operands.max_lsb <= 1
    assert max(result.fakequant.product_error.values()) <= 1e-12


@pytest.mark.parametrize("recipe", FULL)
def test_free_running_is_as_close_to_float_as_fake_quant_is(recipe):
    final = _verified(recipe, "both").fakequant.final_sqnr_db()
    assert final["integer_against_float"] >= final["fakequant_against_float"] - 0.5


@pytest.mark.parametrize("recipe", FULL)
def test_free_running_stays_within_6_db_of_the_control(recipe):
    final = _verified(recipe, "both").fakequant.final_sqnr_db()
    assert final["integer_against_fakequant"] >= final["control_float32_against_float64"] - 6.0


@pytest.mark.parametrize("recipe", FULL)
def test_observed_sums_stay_inside_the_proved_bound(recipe):
    layers = _verified(recipe, "both").layers
    assert (layers["observed_high"] <= layers["accumulator_bound"]).all()
    assert (layers["observed_low"] >= -layers["accumulator_bound"]).all()
    assert (layers["observed_bits"] <= layers["accumulator_bits"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["hqdm-w4a4", "hqdm-w8a8"])
def test_the_papers_transform_matches_fake_quant(recipe):
    result = _verified(recipe, "both")
    unmet = [
        f"{check.name}: {check.value}, limit {check.limit}" for check in result.checks() if not check.passed
    ]
    assert unmet == []
