"""The rescale of the quantizer in 32 bits, by blocks of one element: every shift, both ends of values."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.transform import quantize_transformed
from tests import naive

ENDS = [-(2**31), -(2**31) + 1, -(2**16) - 1, -(2**16), -1, 0, 1, 2**16 - 1, 2**16, 2**31 - 1]


def values_near(multiplier: int, shift: int, limits: tuple[int, int]) -> np.ndarray:
    """Ends of 32 bits and of 16-bit halves, random ones of every size, and where codes change."""
    rng = np.random.default_rng(shift)
    sizes = rng.integers(0, 32, 300)
    values = [*ENDS, *(rng.integers(-(1 << size), 1 << size) for size in sizes)]
    for code in (*limits, 0, 1, limits[0] - 1, limits[1] + 1):
        # The smallest value whose code it is, and its neighbours.
        change = -((-(((2 * code - 1) << shift) + 1) // 2) // multiplier)
        values += [change - 1, change, change + 1]
    return np.array([value for value in map(int, values) if -(2**31) <= value < 2**31], np.int32)


@pytest.mark.parametrize("shift", range(63))
@pytest.mark.parametrize("multiplier", [1, 3, 2**14, 20011, 2**15 - 1])
@pytest.mark.parametrize(
    ("limits", "zero", "dtype"),
    [((-8, 7), 0, np.int8), ((0, 255), 131, np.uint8), ((-32768, 32767), 0, np.int16)],
)
def test_every_shift(
    shift: int, multiplier: int, limits: tuple[int, int], zero: int, dtype: type[np.integer]
) -> None:
    x = values_near(multiplier, shift, (limits[0] - zero, limits[1] - zero))
    exact = np.array([naive.shifted(int(value) * multiplier, shift) + zero for value in x], object)
    expected, clipped = naive.clamp_all(exact, *limits)
    factor = np.array([multiplier, shift, zero])
    for shape in ((1, len(x), 1), (1, 1, len(x))):
        codes = np.full(shape, 99, dtype)
        saturated = quantize_transformed(x.reshape(shape), np.ones(1, np.int64), factor, *limits, codes)
        assert codes.ravel().tolist() == expected.tolist()
        assert saturated == clipped


def test_the_values_meet_codes_that_change() -> None:
    """Otherwise the rounding is not seen."""
    x = values_near(20011, 20, (-8, 7))
    codes = {int(value): naive.shifted(int(value) * 20011, 20) for value in x}
    for code in (-9, -8, 0, 1, 7, 8):
        smallest = min(value for value in codes if codes[value] == code)
        assert codes[smallest - 1] == code - 1
