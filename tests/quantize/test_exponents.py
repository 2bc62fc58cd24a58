"""Exponents of channels, against a plain search over every assignment."""

from itertools import product

import numpy as np
import pytest
import torch

from hqsim.numerics import Format
from hqsim.quantize.exponents import ChannelMagnitudes


def _error(values, scales, high):
    """Squared error of ``values [channels, any]`` with a step per channel."""
    steps = np.array(scales)[:, None]
    return np.square(values - steps * np.clip(np.floor(values / steps + 0.5), -high, high)).sum()


def _best(values, width):
    """The least error over a fine grid of steps and all assignments, and that without exponents."""
    powers = [2.0 ** np.array(e) for e in product(range(width.spread + 1), repeat=len(values))]
    grid = np.abs(values).max() / width.even.high * 2.0 ** np.linspace(-6, 0, 97)
    least = [min(_error(values, scale * power, width.even.high) for scale in grid) for power in powers]
    return min(least), least[0]


@pytest.mark.parametrize(("bits", "largest"), [(4, 1), (3, 2)])
def test_as_good_as_every_assignment(bits, largest):
    rng = np.random.default_rng(bits)
    values = rng.normal(size=(5, 400)) * np.array([[1.0], [0.3], [0.9], [0.12], [0.5]])
    width = Format(bits=bits, scales=(1.0,), exponents=(largest,))
    seen = ChannelMagnitudes(5)
    seen.add(torch.from_numpy(values))
    found = seen.exponents(width)
    assert (max(found), min(found)) == (largest, 0)
    grid = np.abs(values).max() / width.even.high * 2.0 ** np.linspace(-6, 0, 97)
    ours = min(_error(values, scale * 2.0 ** np.array(found), width.even.high) for scale in grid)
    best, plain = _best(values, width)
    assert ours <= best * 1.02
    assert best < 0.8 * plain


def test_alike_channels_have_none():
    values = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    seen = ChannelMagnitudes(4)
    seen.add(values)
    assert seen.exponents(Format(bits=4, scales=(1.0,), exponents=(1,))) == ()


def test_timesteps_weigh_the_same():
    """A timestep a thousand times as loud decides no more than the other."""
    generator = torch.Generator().manual_seed(1)
    shares = torch.tensor([[1.0], [0.2]])
    width = Format(bits=4, scales=(1.0,), exponents=(1,))
    first, second = (ChannelMagnitudes(2) for _ in range(2))
    values = [torch.randn(2, 500, generator=generator) * shares for _ in range(2)]
    for seen, loud in ((first, 1.0), (second, 1000.0)):
        seen.add(values[0])
        seen.add(loud * values[1])
    np.testing.assert_array_equal(first.counts, second.counts)
    assert first.exponents(width) == (1, 0)


def test_silence_counts_nothing():
    seen = ChannelMagnitudes(3)
    seen.add(torch.zeros(3, 7))
    assert not seen.counts.any()
