"""Matrix products: tiles, remainders, both accumulators, extremes."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.gemm import COLUMNS, ROWS, matmul_accumulate
from tests import naive

# Rows and reduction are unrolled by four; tiles have ROWS x COLUMNS results.
SHAPES = [
    (1, 1, 1, 1),
    (1, 4, 4, 4),
    (2, 5, 7, 3),
    (3, 3, 6, 2),
    (1, 7, 5, 9),
    (1, ROWS + 3, 5, 2),
    (1, 1, 2, COLUMNS + 5),
    (2, 4, 0, 3),
]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(("count", "m", "k", "n"), SHAPES)
@pytest.mark.parametrize("shared", [False, True])
def test_product(count: int, m: int, k: int, n: int, shared: bool, dtype: type[np.signedinteger]) -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(-256, 241, (count, m, k)).astype(np.int16)
    b = rng.integers(-7, 8, (1 if shared else count, k, n)).astype(np.int16)
    sums = np.full((count, m, n), 99, dtype)
    matmul_accumulate(a, b, sums)
    assert np.array_equal(sums, naive.matmul(a, b))


@pytest.mark.parametrize(("left", "right"), [(-32768, -32768), (-32768, 32767), (32767, 32767)])
def test_full_int16_extremes_need_the_wide_sums(left: int, right: int) -> None:
    a, b = np.full((1, 5, 9), left, np.int16), np.full((1, 9, 3), right, np.int16)
    sums = np.empty((1, 5, 3), np.int64)
    matmul_accumulate(a, b, sums)
    assert (sums == 9 * left * right).all()
    assert abs(9 * left * right) > 2**31


def test_int32_sums_reach_their_last_value() -> None:
    """The largest product that the bound lets pass: 2**31 - 1 = 7 * 306783378 + 1, sums of 16 products."""
    a = np.full((1, 4, 2), 32767, np.int16)
    b = np.array([[[32767, -32767], [32767, -32767]]], np.int16)
    a[0, :, 1] = 32766
    expected = 32767 * 32767 + 32766 * 32767
    sums = np.empty((1, 4, 2), np.int32)
    matmul_accumulate(a, b, sums)
    assert 2**31 - 2**18 < expected < 2**31
    assert (sums == [expected, -expected]).all()


def test_operands_may_be_views() -> None:
    rng = np.random.default_rng(1)
    whole = rng.integers(-8, 8, (2, 6, 10)).astype(np.int16)
    a, b = whole[:, ::2, 1:6], whole[:, :5, ::3]
    sums = np.empty((2, 3, 4), np.int32)
    matmul_accumulate(a, b, sums)
    assert np.array_equal(sums, naive.matmul(a, b))
