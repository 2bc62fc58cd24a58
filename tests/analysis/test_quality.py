"""Quality figures against scipy, hand calculation and the real digits."""

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from hqsim.analysis.quality import accuracy, classify, frechet_distance, frechet_to_digits, psnr_db


def test_frechet_distance_of_one_dimensional_gaussians_is_known():
    """``(μ1 - μ2)² + (σ1 - σ2)²``."""
    distance = frechet_distance(np.array([1.0]), np.array([[4.0]]), np.array([3.0]), np.array([[25.0]]))
    assert distance == pytest.approx((1 - 3) ** 2 + (2 - 5) ** 2)


def test_frechet_distance_matches_scipys_matrix_square_root():
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal((60, 7)) @ generator.standard_normal((7, 7)) for _ in range(2))
    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in (a, b)]
    (mean_a, cov_a), (mean_b, cov_b) = moments
    overlap = np.trace(np.real(sqrtm(cov_a @ cov_b)))
    expected = np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * overlap
    assert frechet_distance(mean_a, cov_a, mean_b, cov_b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_to_oneself_is_zero_even_when_the_covariance_is_singular():
    covariance = np.outer([1.0, 2.0], [1.0, 2.0])
    assert frechet_distance(np.ones(2), covariance, np.ones(2), covariance) == pytest.approx(0.0, abs=1e-9)


def test_psnr_of_a_constant_error():
    codes = np.full((1, 1, 4, 4), 100, np.uint8)
    assert psnr_db(codes, codes) == math.inf
    assert psnr_db(codes, codes + 5) == pytest.approx(20 * math.log10(255 / 5))


@pytest.fixture(scope="module")
def held_out():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn (extra 'train')")
    from hqsim.models.digits_data import load_digits

    split = load_digits()[1]
    return np.round((split.images + 1) * 127.5).astype(np.uint8), split.labels


def test_the_classifier_knows_digits_it_has_not_seen(held_out):
    codes, labels = held_out
    assert len(labels) == 360
    assert accuracy(codes, labels) >= 0.97
    assert accuracy(codes, (labels + 1) % 10) <= 0.02


def test_distances_tell_real_digits_from_noise(held_out):
    codes, _ = held_out
    noise = np.random.default_rng(0).integers(0, 256, codes.shape).astype(np.uint8)
    assert frechet_to_digits(codes) < 0.1 * frechet_to_digits(noise)
    assert classify(codes)[0].shape == (360, 48)
