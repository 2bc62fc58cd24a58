"""Measures of sets against closed forms, scipy, and planted sets worked out by hand."""

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import entropy

from hqsim.analysis.metrics import Manifold, Moments, frechet_distance, inception_score, psnr_db


def _moments(mean, covariance):
    return Moments(np.array(mean, float), np.array(covariance, float))


def test_frechet_distance_of_one_dimensional_gaussians_is_known():
    """``(μ1 - μ2)² + (σ1 - σ2)²``."""
    distance = frechet_distance(_moments([1], [[4]]), _moments([3], [[25]]))
    assert distance == pytest.approx((1 - 3) ** 2 + (2 - 5) ** 2)


def test_frechet_distance_of_commuting_gaussians_adds_up_over_the_axes():
    distance = frechet_distance(_moments([0, 1], np.diag([1, 16])), _moments([2, 1], np.diag([9, 4])))
    assert distance == pytest.approx(2**2 + (1 - 3) ** 2 + (4 - 2) ** 2)


def test_frechet_distance_matches_scipys_matrix_square_root():
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal((60, 7)) @ generator.standard_normal((7, 7)) for _ in range(2))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    overlap = np.trace(np.real(sqrtm(cov_a @ cov_b)))
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * overlap
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(Moments.of(b), Moments.of(a)) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_to_oneself_is_zero_even_when_the_covariance_is_singular():
    singular = _moments([1, 1], np.outer([1.0, 2.0], [1.0, 2.0]))
    assert frechet_distance(singular, singular) == pytest.approx(0.0, abs=1e-9)


def test_inception_score_has_its_two_ends():
    assert inception_score(np.tile([0.7, 0.2, 0.1], (5, 1))) == pytest.approx(1.0)
    assert inception_score(np.tile(np.eye(10), (3, 1))) == pytest.approx(10.0)


def test_inception_score_matches_scipys_entropy():
    probabilities = np.random.default_rng(1).dirichlet(np.ones(4), 50)
    expected = math.exp(np.mean([entropy(row, probabilities.mean(0)) for row in probabilities]))
    assert inception_score(probabilities) == pytest.approx(expected)


def test_balls_reach_the_kth_neighbour():
    """On the line 0, 1, 3, 7 the second neighbours are 3, 2, 3 and 6 away."""
    manifold = Manifold(np.array([[0.0], [1.0], [3.0], [7.0]]), neighbours=2)
    assert np.sqrt(manifold.radii_squared) == pytest.approx([3, 2, 3, 6])
    covered = manifold.coverage(np.array([[-2.5], [12.9], [14.0]]))
    assert covered.tolist() == [[True, False, False, False], [False, False, False, True], [False] * 4]


def test_precision_and_recall_of_planted_sets():
    """Real: two far clusters. Generated: one of them, and strays. Half is covered, two thirds are real."""
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    real = np.concatenate([square, square + 100.0])
    strays = np.array([[40.0, 50.0], [60.0, 50.0]])
    generated = np.concatenate([square * 0.9, strays])
    precision = Manifold(real, 3).coverage(generated).any(1).mean()
    recall = Manifold(generated[:4], 3).coverage(real).any(1).mean()
    assert precision == pytest.approx(4 / 6)
    assert recall == pytest.approx(4 / 8)


def test_coverage_equals_brute_force():
    generator = np.random.default_rng(2)
    points, samples = generator.standard_normal((40, 5)), generator.standard_normal((30, 5))
    radii = [sorted(math.dist(a, b) for b in points)[3] for a in points]
    expected = [[math.dist(s, p) <= r for p, r in zip(points, radii, strict=True)] for s in samples]
    assert Manifold(points, 3).coverage(samples).tolist() == expected


def test_a_manifold_needs_neighbours():
    with pytest.raises(ValueError, match=r"^a manifold of 3 neighbours needs more points than 3$"):
        Manifold(np.zeros((3, 2)))


def test_psnr_of_a_constant_error():
    codes = np.full((1, 1, 4, 4), 100, np.uint8)
    assert psnr_db(codes, codes) == math.inf
    assert psnr_db(codes, codes + 5) == pytest.approx(20 * math.log10(255 / 5))
