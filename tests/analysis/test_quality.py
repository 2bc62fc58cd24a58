"""Image quality on real digits, noise, and disturbances of known energy."""

import math

import numpy as np
import pytest

from hqsim.analysis.bootstrap import Measured
from hqsim.analysis.features import DigitsExtractor, Features
from hqsim.analysis.quality import METRICS, Judge, accuracy, evaluate, frechet_to_digits
from hqsim.errors import InputError


@pytest.fixture(scope="module")
def held_out():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn (extra 'train')")
    from hqsim.models.digits_data import load_digits

    split = load_digits()[1]
    return np.round((split.images + 1) * 127.5).astype(np.uint8), split.labels


@pytest.fixture(scope="module")
def judge(held_out):
    from hqsim.analysis.features import real_digits

    return Judge(real_digits(), DigitsExtractor())


def _evaluate(codes, labels, judge, **options):
    return evaluate(codes, codes / 127.5 - 1.0, labels, judge, resamples=20, **options)


def test_the_classifier_knows_digits_it_has_not_seen(held_out):
    codes, labels = held_out
    assert len(labels) == 360
    assert accuracy(codes, labels) >= 0.97
    assert accuracy(codes, (labels + 1) % 10) <= 0.02


def test_every_figure_tells_real_digits_from_noise(held_out, judge):
    codes, labels = held_out
    noise = np.random.default_rng(0).integers(0, 256, codes.shape).astype(np.uint8)
    real, bad = _evaluate(codes, labels, judge), _evaluate(noise, labels, judge)
    assert set(real) == set(METRICS) - {"sqnr_db", "psnr_db"}
    assert real["score"].value > 2 * bad["score"].value
    assert real["frechet"].value < 0.1 * bad["frechet"].value
    assert real["spatial_frechet"].value < 0.1 * bad["spatial_frechet"].value
    assert real["recall_percent"].value > 80 and bad["recall_percent"].value < 5
    assert real["precision_percent"].value > 80


def test_precision_falls_when_every_second_image_is_not_a_digit(held_out, judge):
    """Dark frames around a digit: far from every real one, unlike noise, which an outlier's ball holds."""
    codes, labels = held_out
    spoilt = codes.copy()
    spoilt[::2] = 255 - spoilt[::2]
    whole, half = (_evaluate(x, labels, judge)["precision_percent"].value for x in (codes, spoilt))
    assert half < 0.6 * whole


def test_the_moments_kept_with_the_classifier_are_those_of_the_digits(held_out, judge):
    codes, labels = held_out
    kept = frechet_to_digits(codes)
    assert kept == pytest.approx(_evaluate(codes, labels, judge)["frechet"].value, rel=2e-2)


def test_sqnr_and_psnr_are_those_of_a_disturbance_of_known_energy(held_out, judge):
    codes, labels = held_out
    latents = codes / 127.5 - 1.0
    disturbed = np.clip(codes.astype(int) + np.where(codes < 128, 5, -5), 0, 255).astype(np.uint8)
    figures = evaluate(
        disturbed, latents * 0.9, labels, judge, reference=(codes, latents), resamples=20
    )  # fmt: skip
    assert figures["sqnr_db"].value == pytest.approx(20.0)
    assert figures["sqnr_db"].interval == pytest.approx((20.0, 20.0))
    assert figures["psnr_db"].value == pytest.approx(20 * math.log10(255 / 5))


def test_an_interval_is_cut_at_what_the_metric_can_be():
    figure = Measured(99.0, np.linspace(95, 105, 101))
    assert METRICS["recall_percent"].interval(figure) == pytest.approx((94.25, 100.0))
    assert METRICS["sqnr_db"].interval(figure)[1] == pytest.approx(103.75)


def test_labels_are_judged_only_by_who_knows_them(held_out):
    class Foreign:
        name, knows_labels = "something else", False

        def __call__(self, codes):
            flat = codes[:, 0, ::8, ::8].reshape(len(codes), -1) / 255.0
            return Features(flat, flat, np.full((len(codes), 3), 1 / 3))

    codes, labels = held_out
    figures = _evaluate(codes[:40], labels[:40], Judge(codes, Foreign()))
    assert "accuracy_percent" not in figures
    assert figures["score"].value == pytest.approx(1.0)


def test_sets_that_do_not_belong_together_are_refused(held_out, judge):
    codes, labels = held_out
    with pytest.raises(InputError, match=r"^images: got \[360, 1, 32, 32\], the float model's are \[10, "):
        _evaluate(codes, labels, judge, reference=(codes[:10], codes[:10] / 255.0))
