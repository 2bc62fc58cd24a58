"""Normalisation of rows with one gain per element, against Python integers."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.layer_norm import normalize_rows
from tests import naive

I16 = (-32768, 32767)


@pytest.mark.parametrize("spread", [1, 5, 300, 32767])
@pytest.mark.parametrize(("gain_bits", "fraction"), [(3, 6), (10, 6), (-6, 10), (32, 6)])
@pytest.mark.parametrize("epsilon", [0, 4096, 2**60])
def test_rows(spread: int, gain_bits: int, fraction: int, epsilon: int) -> None:
    rng = np.random.default_rng(spread)
    x = rng.integers(-spread - 1, spread + 1, (4, 7)).astype(np.int16)
    x = x // 16 if fraction == 10 else x
    gain = rng.integers(-(2**23), 2**23, 7)
    offset = rng.integers(-(2**14), 2**14, 7) << max(0, min(16, 30 - gain_bits))
    expected, clipped = naive.normalize(
        x[:, :, None], fraction, epsilon, gain[None], gain_bits, offset[None], *I16
    )
    codes = np.full(x.shape, 99, np.int16)
    limits = (np.int64(limit) for limit in I16)
    saturated = normalize_rows(
        x, np.int64(fraction), np.int64(epsilon), gain, np.int64(gain_bits), offset, *limits, codes
    )
    assert np.array_equal(codes, expected[:, :, 0])
    assert saturated == clipped
