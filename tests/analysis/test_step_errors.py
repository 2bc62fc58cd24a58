"""Errors of the predicted noise by step, against what a run makes of them."""

import numpy as np
import pytest

import hqsim
from hqsim.analysis.step_errors import shipped_step_errors, step_errors
from hqsim.errors import InputError
from hqsim.ops.ddim import noise_codes
from hqsim.simulate.metrics import sqnr_db

RUN = {"images": 3, "guidance": 1.5, "seed": 2}


def test_the_error_of_a_step_is_that_of_the_sample_after_it(tiny_dit):
    """A run of one step, which clips nothing: ``x' = a x + b noise`` gives both models' noise."""
    qmodel = hqsim.quantize(tiny_dit, "ditptq-w4a8", steps=1, images=2, guidance=1.5)
    (found,) = step_errors(qmodel, steps=1, **RUN).itertuples()
    (step,) = qmodel.model.schedule.steps(1)
    assert step.clip is None
    a, b = step.direct
    sample = qmodel.formats["sample"]
    x = sample.scale * noise_codes(seed=2, images=3, shape=qmodel.model.sample_shape, sample=sample)
    real, integer = (
        (hqsim.simulate(qmodel, executor=name, steps=1, **RUN).latents - a * x) / b
        for name in ("float", "integer")
    )
    assert found.noise_sqnr_db == pytest.approx(sqnr_db(real, integer), abs=1e-3)
    assert found.factor == pytest.approx(b)
    assert (found.noise_loss_percent, found.sample_loss_percent) == (100.0, 100.0)


def test_what_a_step_counts(tiny_qmodel):
    found = step_errors(tiny_qmodel, steps=3, **RUN)
    assert found["timestep"].tolist() == [666, 333, 0]
    assert found["noise_loss_percent"].sum() == pytest.approx(100)
    counted = found["noise_loss_percent"] * np.square(found["factor"])
    assert found["sample_loss_percent"].tolist() == pytest.approx((100 * counted / counted.sum()).tolist())
    assert found["sample_loss_percent"].iloc[-1] < found["noise_loss_percent"].iloc[-1]


def test_a_recipe_that_no_model_ships_for():
    with pytest.raises(InputError, match=r"'ptq-w4a4'.*efficientdm-w4a4"):
        shipped_step_errors("digits", "ptq-w4a4")
