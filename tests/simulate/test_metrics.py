"""Measures against hand calculation."""

import math

import numpy as np
import pytest

from hqsim.simulate.metrics import Difference, closeness_db, sqnr_db


def test_sqnr_of_known_energies():
    assert sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(10 * math.log10(25 / 0.25))
    assert sqnr_db(np.ones(3), np.ones(3)) == math.inf
    assert sqnr_db(np.zeros(3), np.ones(3)) == -math.inf


def test_codes_are_counted_over_batches_and_types():
    difference = Difference()
    difference.add_codes(np.array([1, 2, 3], np.int8), np.array([1, 4, 3], np.int16))
    difference.add_codes(np.array([-128], np.int8), np.array([127], np.int8))
    assert (difference.compared, difference.mismatches, difference.max_lsb) == (4, 2, 255)
    assert difference.mismatch_percent == 50.0


def test_closeness_is_the_ratio_of_error_energies():
    reference = np.zeros((4, 2))
    value, error = closeness_db(reference, np.full((4, 2), 1.0), np.full((4, 2), 2.0))
    assert value == pytest.approx(10 * math.log10(4))
    assert error == pytest.approx(0.0, abs=1e-12)


def test_the_error_of_closeness_is_that_of_a_mean_over_images():
    """Log ratios that scatter by 1 dB around images of equal energy: the mean of n scatters by 1/sqrt(n)."""
    generator = np.random.default_rng(1)
    n = 400
    theirs = np.ones((n, 1))
    ours = 10 ** (-generator.standard_normal((n, 1)) / 20)
    assert closeness_db(np.zeros((n, 1)), ours, theirs)[1] == pytest.approx(1 / math.sqrt(n), rel=0.25)
