"""Quality of sampled images against figures computed here."""

import numpy as np
import pytest

from hqsim.analysis.sample_quality import figures_of, sample_quality, sampled
from hqsim.simulate import simulate
from hqsim.simulate.metrics import sqnr_db
from hqsim.simulate.sampler import resolve_settings

RUN = {"steps": 2, "guidance": 1.5, "seed": 5}


def _quiet(*_):
    pass


@pytest.fixture(scope="module")
def quality(tiny_qmodel):
    settings = resolve_settings(tiny_qmodel, labels=None, images=3, **RUN)
    return sample_quality(tiny_qmodel, settings, _quiet, executors=("integer",))


def test_sqnr_and_its_interval(tiny_qmodel, quality):
    real, integer = (simulate(tiny_qmodel, images=3, executor=name, **RUN) for name in ("float", "integer"))
    table = quality.table.set_index("executor")
    row = table.loc["integer"]
    assert row["sqnr_db"] == pytest.approx(sqnr_db(real.latents, integer.latents))
    assert row["sqnr_low_db"] <= row["sqnr_db"] <= row["sqnr_high_db"]
    mean = np.square(real.codes.astype(float) - integer.codes).mean()
    assert row["psnr_db"] == pytest.approx(10 * np.log10(255**2 / mean))
    assert np.isinf(table.loc["float", "sqnr_db"])
    np.testing.assert_array_equal(quality.images["integer"], integer.codes)
    assert quality.images["labels"].tolist() == [0, 1, 2]
    assert "classifier_accuracy" not in table  # the small UNet draws no digits


def test_figures_are_read_back(quality):
    figures = figures_of(quality.figures, "integer")
    assert set(figures) == {"sqnr_db", "psnr_db"}
    assert figures["sqnr_db"].value == quality.table.set_index("executor").loc["integer", "sqnr_db"]
    assert figures["sqnr_db"].draws.shape == (500,)
    assert figures_of(quality.figures, "float") == {}


def test_known_samples_of_float_are_not_made_again(tiny_qmodel, quality, monkeypatch):
    settings = resolve_settings(tiny_qmodel, labels=None, images=3, **RUN)
    reference = sampled(tiny_qmodel, settings, "float", _quiet)
    made = []

    def counted(*arguments):
        made.append(arguments[2])
        return sampled(*arguments)

    monkeypatch.setattr("hqsim.analysis.sample_quality.sampled", counted)
    again = sample_quality(tiny_qmodel, settings, _quiet, executors=("integer",), reference=reference)
    assert made == ["integer"]
    assert again.table.equals(quality.table)
