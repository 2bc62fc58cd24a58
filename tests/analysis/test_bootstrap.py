"""Bootstrap intervals against the normal theory of a mean."""

import numpy as np
import pytest

from hqsim.analysis.bootstrap import Measured, measure, picks_of


def test_the_interval_of_a_mean_is_that_of_the_normal_theory():
    values = np.random.default_rng(3).normal(5.0, 2.0, 400)
    measured = measure(lambda pick: values[pick].mean(), picks_of(400, resamples=4000))
    half = 1.96 * values.std() / 20
    assert measured.value == values.mean()
    assert measured.interval == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_a_biased_figure_lies_in_its_own_interval():
    """The count of distinct values falls to 63 % in every resample; a percentile interval would miss it."""
    measured = measure(lambda pick: len(set(pick.tolist())), picks_of(200, resamples=200))
    low, high = measured.interval
    assert measured.draws.max() < measured.value
    assert low < measured.value < high
    assert high - low < 30


def test_differences_are_paired():
    values = np.random.default_rng(4).normal(0.0, 10.0, 100)
    picks = picks_of(100)
    better = measure(lambda pick: (values[pick] + 1.0).mean(), picks)
    worse = measure(lambda pick: values[pick].mean(), picks)
    assert better.minus(worse).interval == pytest.approx((1.0, 1.0))


def test_the_same_seed_picks_the_same_images():
    assert np.array_equal(picks_of(10, seed=1), picks_of(10, seed=1))
    assert not np.array_equal(picks_of(10, seed=1), picks_of(10, seed=2))


def test_an_interval_covers_a_known_share_of_draws():
    low, high = Measured(0.0, np.linspace(-1, 1, 2001)).interval
    assert (low, high) == pytest.approx((-0.95, 0.95))
