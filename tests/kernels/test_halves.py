"""The parity term of windows from its tap columns, against plain sums."""

import numpy as np
import pytest

from hqsim.kernels.halves import join_taps


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("outputs", [1, 16, 37])
def test_tap_columns_are_added_by_kind_and_halved(outputs: int, threads: int) -> None:
    """Two lines of two blocks, three tap columns; -1 is padding and counts nothing."""
    rng = np.random.default_rng(outputs)
    sums = rng.integers(-(2**20), 2**20, (3, 4, outputs)).astype(np.int32)
    blocks = np.array([[-1, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, -1]])
    halves = np.full((1, 8, outputs), 99, np.int32)
    join_taps(sums, blocks, threads, halves)
    for line in range(2):
        for kind in range(4):
            parts = [
                sums[tap, 2 * line + blocks[tap, kind]].astype(np.int64)
                for tap in range(3)
                if blocks[tap, kind] >= 0
            ]
            assert np.array_equal(halves[0, 4 * line + kind], sum(parts) // 2)


def test_a_window_of_padding_alone_is_zero() -> None:
    halves = np.full((1, 3, 5), 7, np.int32)
    join_taps(np.ones((1, 3, 5), np.int32), np.array([[-1]]), 1, halves)
    assert not halves.any()
