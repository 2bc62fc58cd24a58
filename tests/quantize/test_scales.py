"""Scales of least squared error, against plain searches on the values themselves."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hqsim.numerics import Format
from hqsim.quantize.scales import operand_grid, operand_scale, quantize_weight

BITS = [2, 3, 4, 5, 6, 7, 8]


def _random_weight(seed, channels=6, shape=(3, 3, 3)):
    rng = np.random.default_rng(seed)
    spread = 10.0 ** rng.uniform(-1, 1, (channels, *[1] * len(shape)))
    return (rng.standard_t(4, (channels, *shape)) * spread).astype(np.float32)


@pytest.mark.parametrize("bits", BITS)
@given(seed=st.integers(0, 1000))
def test_a_weight_scale_is_never_worse_than_the_largest_magnitude(bits, seed):
    """Which is a dyadic number too: the nearest with 15 bits. (The search itself is in float32.)"""
    weight = _random_weight(seed).astype(np.float64)
    found = quantize_weight(weight, bits)
    high = 2 ** (bits - 1) - 1
    for row, codes, scale in zip(weight, found.codes, found.scales, strict=True):
        mantissa, exponent = np.frexp(np.abs(row).max() / high)
        plain = np.floor(mantissa * 2**15 + 0.5) * 2.0 ** (exponent - 15)
        plain_error = np.square(row - plain * np.clip(np.rint(row / plain), -high, high)).sum()
        assert np.square(row - scale * codes).sum() <= plain_error * (1 + 1e-5)


@pytest.mark.parametrize("bits", BITS)
@given(seed=st.integers(0, 1000))
def test_weight_codes_are_the_nearest_ones_in_the_restricted_range(bits, seed):
    weight = _random_weight(seed)
    found = quantize_weight(weight, bits)
    high = 2 ** (bits - 1) - 1
    assert found.codes.dtype == np.int8
    assert found.codes.shape == weight.shape
    assert found.bits == bits
    assert found.scales.shape == (*weight.shape[:1], 1)
    real = weight / found.scales[:, :, None, None]
    inside = np.abs(real) <= high
    assert np.abs(found.codes - real)[inside].max(initial=0) <= 0.5 + 1e-9
    assert (found.codes[~inside] == np.sign(real[~inside]) * high).all()


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_a_weight_scale_is_as_good_as_a_fine_search(bits):
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(4, 500))
    found = quantize_weight(weight, bits)
    high = 2 ** (bits - 1) - 1
    for row, codes, scale in zip(weight, found.codes, found.scales, strict=True):
        scales = np.abs(row).max() / high * np.linspace(0.05, 1.0, 2000)[:, None]
        error = np.square(np.clip(np.rint(row / scales), -high, high) * scales - row).sum(axis=1).min()
        assert np.square(row - scale * codes).sum() <= 1.05 * error


@pytest.mark.parametrize("bits", BITS)
def test_weight_scales_are_dyadic_with_15_bits(bits):
    mantissa, _ = np.frexp(quantize_weight(_random_weight(1), bits).scales)
    assert (mantissa * 2**15 % 1 == 0).all()


def test_weights_that_are_codes_already():
    """Scale 1/8 and every code of the range: nothing is lost."""
    codes = np.array([[-7, 7, 3, -1, 0, 5], [7, -7, -6, 2, 4, 1]])
    found = quantize_weight(codes / 8, 4)
    assert found.codes.tolist() == codes.tolist()
    assert found.scales.tolist() == [[0.125], [0.125]]


def test_a_dead_channel():
    weight = _random_weight(2)
    weight[1] = 0.0
    weight[2] *= 1e-12
    found = quantize_weight(weight, 4)
    assert (found.codes[1] == 0).all()
    assert np.isfinite(found.scales).all()
    reach = np.abs(weight).max()
    assert (found.scales[1:3] >= 0.2 * reach / 1024 / 7 * 0.999).all()


def test_a_dead_layer():
    found = quantize_weight(np.zeros((3, 5), np.float32), 4)
    assert (found.codes == 0).all()
    assert (found.scales > 1e-6).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite(bad):
    weight = np.ones((2, 3))
    weight[1, 2] = bad
    with pytest.raises(ValueError, match=r"^the weight holds values that are not finite$"):
        quantize_weight(weight, 4)


@pytest.mark.parametrize("segments", [[9], [3, 6], [4, 4, 1]])
def test_segments_have_scales_of_their_own(segments):
    """As if each part of the input channels were a weight by itself (the floor of dead channels aside)."""
    weight = _random_weight(3, channels=5, shape=(9, 2))
    weight[:, :3] *= 8
    found = quantize_weight(weight, 4, segments)
    assert found.scales.shape == (5, len(segments))
    ends = np.cumsum(segments)
    for index, part in enumerate(np.split(weight, ends[:-1], axis=1)):
        alone = quantize_weight(part, 4)
        np.testing.assert_array_equal(found.scales[:, [index]], alone.scales)
        first = ends[index] - segments[index]
        np.testing.assert_array_equal(found.codes[:, first : ends[index]], alone.codes)


def test_a_weight_does_not_depend_on_the_threads():
    """Nor on how rows are shared out among blocks: 300 rows of 1,000 are five blocks."""
    weight = np.random.default_rng(2).normal(size=(300, 1000)).astype(np.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(quantize_weight(weight, 4))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0].packed.tobytes() == found[1].packed.tobytes()
    np.testing.assert_array_equal(found[0].scales, found[1].scales)
    alone = quantize_weight(weight[123:124], 4)
    np.testing.assert_array_equal(alone.scales, found[0].scales[123:124])


def _sampled(name):
    rng = np.random.default_rng(11)
    x = rng.standard_normal(20_000)
    return {
        "normal": x,
        "laplace": rng.laplace(size=20_000),
        "one-sided": 2 * x / (1 + np.exp(-2 * x)),
        "uniform": rng.uniform(-1, 1, 20_000),
        "outlier": np.append(x, [30.0, -60.0]),
        "shifted": x * 1e-3 + 2e-3,
    }[name]


def _histogram(x, bins=2048):
    reach = float(np.abs(x).max())
    return np.histogram(x, bins, (-reach, reach))[0].astype(np.float64), reach


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("name", ["normal", "laplace", "one-sided", "uniform", "outlier", "shifted"])
def test_an_operand_scale_is_as_good_as_brute_force(name, bits):
    """Squared error on the raw samples, against 1,000 scales tried one by one."""
    x = _sampled(name)
    operand = Format(bits=bits, scales=(1.0,))
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def error(scale):
        return np.square(np.clip(np.floor(x / scale + 0.5), low, high) * scale - x).sum()

    counts, reach = _histogram(x)
    best = min(error(scale) for scale in np.geomspace(0.005, 1.5, 1000) * reach / (high + 0.5))
    assert error(operand_scale(counts, reach, operand)) <= 1.01 * best


def test_a_scale_follows_the_unit():
    counts, reach = _histogram(_sampled("laplace"))
    operand = Format(bits=4, scales=(1.0,))
    assert operand_scale(counts, reach * 1024, operand) == 1024 * operand_scale(counts, reach, operand)


def test_an_operand_that_is_always_zero():
    assert operand_scale(np.zeros(2048), 0.0, Format(bits=4, scales=(1.0,))) == 1.0


def test_16_bits_take_the_whole_range():
    """Bins of 1/1024 of the range say nothing about steps of 1/32768 of it."""
    counts, reach = _histogram(_sampled("outlier"))
    assert operand_scale(counts, reach, Format(bits=16, scales=(1.0,))) == reach / 32767
    unsigned = Format(bits=16, scales=(1.0,), signed=False)
    assert operand_grid(counts, -1.0, 3.0, unsigned) == (4.0 / 65535, 16384)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("name", ["normal", "one-sided", "uniform", "outlier", "shifted", "negative"])
def test_an_operand_grid_is_as_good_as_brute_force(name, bits):
    """Squared error on the raw samples, against 40 x 40 pairs of ends tried one by one."""
    x = -np.abs(_sampled("normal")) if name == "negative" else _sampled(name)
    x = x[::4] if name != "outlier" else np.append(x[:5000], x[-2:])
    high = 2**bits - 1

    def error(scale, zero_point):
        codes = np.clip(np.floor(x / scale + 0.5) + zero_point, 0, high)
        return np.square((codes - zero_point) * scale - x).sum()

    low, top = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    counts = np.histogram(x, 2048, (low, top))[0].astype(np.float64)
    scale, zero_point = operand_grid(counts, low, top, Format(bits=bits, scales=(1.0,), signed=False))
    assert 0 <= zero_point <= high
    fractions = np.linspace(0.025, 1.0, 40)
    best = np.inf
    for bottom, end in product(fractions * low, fractions * top):
        step = (end - bottom) / high
        if step:
            best = min(best, error(step, int(np.clip(np.floor(-bottom / step + 0.5), 0, high))))
    assert error(scale, zero_point) <= 1.05 * best


def test_a_grid_of_nothing_but_zeros():
    assert operand_grid(np.zeros(2048), 0.0, 0.0, Format(bits=4, scales=(1.0,), signed=False)) == (1.0, 0)
