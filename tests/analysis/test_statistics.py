"""Streaming statistics against scipy and numpy on the whole array."""

import numpy as np
import pytest
import scipy.stats

from hqsim.analysis.statistics import RELATIVE_WIDTH, Moments, Statistics
from hqsim.errors import NumericsError

RANDOM = np.random.default_rng(5)
SAMPLES = {
    "normal": RANDOM.normal(0.3, 2.0, 10_007),
    "one-sided": np.maximum(RANDOM.normal(0, 1e-3, 10_007), 0),
    "heavy": RANDOM.standard_t(2.5, 10_007) * 1e4,
    "outlier": np.append(RANDOM.normal(0, 1, 10_007), [300.0]),
    "uniform": RANDOM.uniform(-1, 1, 10_007),
}


@pytest.fixture(params=SAMPLES)
def values(request):
    return SAMPLES[request.param].astype(np.float32)


@pytest.fixture
def found(values):
    """The values in three uneven parts."""
    statistics = Statistics()
    for part in np.split(values, [7, 3_000]):
        statistics.add(part)
    return statistics


def test_moments_of_parts_are_those_of_the_whole(values, found):
    x = values.astype(np.float64)
    assert found.moments.count == x.size
    assert found.moments.mean == pytest.approx(x.mean(), rel=1e-10)
    assert found.rms == pytest.approx(np.sqrt(np.mean(x**2)), rel=1e-12)
    assert found.moments.third / x.size == pytest.approx(scipy.stats.moment(x, 3), rel=1e-9)
    assert found.moments.kurtosis == pytest.approx(scipy.stats.kurtosis(x, fisher=False), rel=1e-10)
    assert found.absolute_maximum == np.abs(values).max()
    assert found.crest == pytest.approx(np.abs(x).max() / np.sqrt(np.mean(x**2)))
    assert found.zero_percent == pytest.approx(100 * np.mean(values == 0))


@pytest.mark.parametrize("percent", [50.0, 99.0, 99.9, 99.99, 100.0])
def test_percentiles_are_within_the_width_of_a_bin(values, found, percent):
    exact = np.quantile(np.abs(values), percent / 100, method="inverted_cdf")
    assert found.percentile(percent) == pytest.approx(exact, rel=RELATIVE_WIDTH)


def test_share_of_the_energy_in_the_largest_values(values, found):
    squares = np.sort(np.square(values.astype(np.float64)))[::-1]
    exact = 100 * squares[: int(np.ceil(values.size / 1000))].sum() / squares.sum()
    assert found.top_energy_percent() == pytest.approx(exact, rel=4 * RELATIVE_WIDTH)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_sqnr_is_that_of_the_best_clip(values, found, bits):
    """A plain search over clips of the values themselves, 1/32 of an octave apart."""
    x, top = values.astype(np.float64), 2 ** (bits - 1) - 1
    noise = []
    for clip in np.abs(x).max() * 2.0 ** (-np.arange(-0.25, 11, 1 / 32)):
        step = clip / (top + 0.5)
        noise.append(np.square(x - step * np.clip(np.round(x / step), -top - 1, top)).sum())
    exact = 10 * np.log10(np.square(x).sum() / min(noise))
    assert found.sqnr_db([bits]) == [pytest.approx(exact, abs=0.15)]


def test_uniform_values_have_six_decibels_per_bit():
    statistics = Statistics()
    statistics.add(np.linspace(-1, 1, 100_001, dtype=np.float32))
    assert statistics.sqnr_db([8]) == [pytest.approx(8 * 20 * np.log10(2), abs=0.1)]


def test_merging_equals_adding():
    x = SAMPLES["heavy"].astype(np.float32)
    whole, first, second = Statistics(), Statistics(), Statistics()
    whole.add(x)
    first.add(x[:3_333])
    second.add(x[3_333:])
    first.merge(second)
    assert first.percentile(99.9) == whole.percentile(99.9)
    assert first.sqnr_db([4]) == pytest.approx(whole.sqnr_db([4]), rel=1e-12)
    np.testing.assert_array_equal(first.counts, whole.counts)


def test_histogram_in_units_of_the_rms():
    """An exact count at powers of two, which are edges of the fixed bins; the rest goes to the ends."""
    statistics = Statistics()
    values = np.array([-9, -3, -1.5, 0.5, 0.75, 1.5, 3, 9], np.float32)
    statistics.add(values)
    edges = np.array([-4, -2, -1, 0, 1, 2, 4]) / statistics.rms
    counts = statistics.in_units_of_rms(edges)
    assert counts.tolist() == [2, 1, 0, 2, 1, 2]
    # A smooth sample: within what the two cut bins at the ends of each hold.
    x = SAMPLES["normal"].astype(np.float32)
    statistics = Statistics()
    statistics.add(x)
    edges = np.linspace(-5, 5, 41)
    exact, _ = np.histogram(x / statistics.rms, edges)
    np.testing.assert_allclose(statistics.in_units_of_rms(edges), exact, atol=0.06 * exact.max())
    assert statistics.in_units_of_rms(edges).sum() == x.size


def test_constants_and_zeros():
    """By hand: kurtosis has no meaning without a spread, a clip exists for one magnitude alone."""
    constant, nothing = Statistics(), Statistics()
    constant.add(np.full(100, 2.0, np.float32))
    nothing.add(np.zeros(100, np.float32))
    assert constant.crest == 1.0
    assert np.isnan(constant.moments.kurtosis)
    assert constant.percentile(99.9) == pytest.approx(2.0, rel=RELATIVE_WIDTH)
    assert (nothing.zero_percent, nothing.rms, nothing.sqnr_db([4])) == (100.0, 0.0, [np.inf])
    assert np.isnan(nothing.crest)
    assert np.isnan(nothing.top_energy_percent())
    assert nothing.in_units_of_rms(np.array([-1.0, 0.0, 1.0])).tolist() == [0, 100]


def test_moments_by_hand():
    """1, 2, 6: mean 3, deviations -2, -1, 3."""
    moments = Moments.of(np.array([1.0, 2.0])) + Moments.of(np.array([6.0])) + Moments()
    expected = (3, 3.0, 14.0, 18.0, 98.0)
    assert (moments.count, moments.mean, moments.second, moments.third, moments.fourth) == pytest.approx(
        expected
    )
    assert moments.energy == pytest.approx(41.0)


def test_values_that_are_not_finite_are_refused():
    statistics = Statistics()
    for bad in (np.nan, np.inf):
        with pytest.raises(NumericsError, match=r"^statistics are those of finite values, got (nan|inf)$"):
            statistics.add(np.array([1.0, bad], np.float32))
    assert statistics.moments.count == 0
