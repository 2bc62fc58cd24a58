"""Average pooling against Python integers."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.pool import average_pool
from tests import naive


@pytest.mark.parametrize(("factor", "shift"), [(1, 0), (2, 2), (4, 4)])
@pytest.mark.parametrize("fill", [-32768, 32767, None])
def test_windows(factor: int, shift: int, fill: int | None) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-32768, 32768, (2, 3 * factor + factor - 1, 2 * factor, 5)).astype(np.int16)
    if fill is not None:
        x[:] = fill
    codes = np.empty((2, 3, 2, 5), np.int16)
    average_pool(x, np.int64(factor), np.int64(shift), codes)
    for image, row, column, channel in np.ndindex(codes.shape):
        window = x[image, row * factor : (row + 1) * factor, column * factor : (column + 1) * factor, channel]
        total = sum(int(code) for code in window.ravel())
        assert codes[image, row, column, channel] == naive.shifted(total, shift)
    assert fill is None or (codes == fill).all()


def test_halves_round_up() -> None:
    """Means of 0.5, -0.5 and 1.25."""
    x = np.array([[[[2, -2, 5]], [[0, 0, 0]]]], np.int16).repeat(2, axis=2)
    x[:, :, 1] = 0
    codes = np.empty((1, 1, 1, 3), np.int16)
    average_pool(x, np.int64(2), np.int64(2), codes)
    assert codes.ravel().tolist() == [1, 0, 1]
