"""Growth of the error: the split of a known trajectory, and the first step of the small UNet."""

import numpy as np
import pytest

from hqsim.analysis.growth import gained_percent, growth
from hqsim.simulate import simulate
from hqsim.simulate.metrics import sqnr_db
from hqsim.simulate.sampler import resolve_settings


def test_gains_add_up_to_the_final_error():
    """Relative errors 0.1, 0.4, 0.3, 0.5: gains of 20, 60, -20 and 40 % of the last."""
    np.testing.assert_allclose(gained_percent([0.1, 0.4, 0.3, 0.5]), [20.0, 60.0, -20.0, 40.0])
    assert np.isnan(gained_percent([0.1, 0.0])).all()


def test_the_last_row_is_the_final_sample(tiny_qmodel):
    """Its SQNR is that of two sampling runs, integer and float, of the same seed."""
    settings = resolve_settings(tiny_qmodel, labels=None, images=2, steps=3, guidance=1.5, seed=4)
    found = growth(tiny_qmodel, settings, lambda *_: None)
    assert found["timestep"].tolist() == [666, 333, 0]
    options = {"images": 2, "steps": 3, "guidance": 1.5, "seed": 4}
    real, integer = (simulate(tiny_qmodel, executor=name, **options).latents for name in ("float", "integer"))
    assert found["sample_sqnr_db"].iloc[-1] == pytest.approx(sqnr_db(real, integer), abs=1e-6)
    assert found["gained_percent"].sum() == pytest.approx(100.0)


def test_one_step_gains_everything(tiny_qmodel):
    settings = resolve_settings(tiny_qmodel, labels=None, images=1, steps=1, guidance=1.0, seed=0)
    found = growth(tiny_qmodel, settings, lambda *_: None)
    assert found["gained_percent"].tolist() == [100.0]
    assert np.isfinite(found["noise_sqnr_db"]).all()
