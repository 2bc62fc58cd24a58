"""Room that starts with a cache line."""

import numba
import numpy as np
import pytest

from hqsim.kernels.scratch import LINE_BYTES, from_line, scratch


@numba.njit
def address_of(count):
    return np.int64(scratch(count).ctypes.data)


@pytest.mark.parametrize("count", [1, 63, 64, 1000])
def test_it_starts_with_a_line(count: int) -> None:
    assert scratch(count).shape == (count,)
    assert scratch(count).dtype == np.uint8
    assert address_of(count) % LINE_BYTES == 0


@pytest.mark.parametrize("skip", [0, 1, 5, 15])
def test_rows_start_with_a_line(skip: int) -> None:
    """Rows of 48 numbers of 4 bytes, wherever they start: 32 of them, and the same numbers in memory."""
    room = np.zeros(4 * 48 + 32, np.int32)
    start = -room.ctypes.data % LINE_BYTES // 4 + skip
    rows = room[start : start + 3 * 48].reshape(3, 48)
    found = from_line(rows, 32)
    assert found.shape == (3, 32)
    assert [row.ctypes.data % LINE_BYTES for row in found] == [0, 0, 0]
    found[1] = 7
    assert (rows == 7).sum() == 32
