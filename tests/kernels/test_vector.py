"""Inner loops: copied runs, unpacked and widened weights; nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.vector import copy_runs, unpack_nibbles, widen


@pytest.mark.parametrize("count", [0, 1, 2, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 600])
@pytest.mark.parametrize("flip", [0, 128, 255])
def test_copy_runs(count: int, flip: int) -> None:
    """Some runs begin at the first or end at the last byte, some overlap, some are padding."""
    source = np.random.default_rng(count).integers(0, 256, 1100).astype(np.uint8)
    firsts, fill = np.array([17, 0, -1, 1100 - count, 18, -(10**12), 17, 333]), 77
    target = np.full((9, 700), 99, np.uint8)
    copy_runs(source, firsts, 7, count, np.uint8(flip), np.uint8(fill), target, 31)
    for row, first in enumerate(firsts[:7].tolist()):
        run = [int(byte) ^ flip for byte in source[first : first + count]] if first >= 0 else [fill] * count
        assert target[row, 31 : 31 + count].tolist() == run
    assert (target[:, :31] == 99).all()
    assert (target[:, 31 + count :] == 99).all()
    assert (target[7:] == 99).all()


def test_no_row_is_copied() -> None:
    target = np.full((2, 70), 99, np.uint8)
    copy_runs(np.zeros(70, np.uint8), np.zeros(2, np.int64), 0, 65, np.uint8(0), np.uint8(0), target, 3)
    assert (target == 99).all()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_unpack_nibbles(steps: int) -> None:
    packed = np.random.default_rng(steps).integers(0, 256, 64 * (steps + 2)).astype(np.uint8)
    packed[64:70] = [0x00, 0xFF, 0x0F, 0xF0, 0x78, 0x87]
    target = np.full(128 * (steps + 1), 99, np.uint8)
    unpack_nibbles(packed, 64, steps, target)
    expected = []
    for step in range(1, steps + 1):
        pairs = packed[64 * step : 64 * step + 64].tolist()
        expected += [pair % 16 - 8 for pair in pairs] + [pair // 16 - 8 for pair in pairs]
    assert target.view(np.int8)[: 128 * steps].tolist() == expected
    assert (target[128 * steps :] == 99).all()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_widen(steps: int) -> None:
    packed = np.random.default_rng(steps).integers(0, 256, 128 * (steps + 2)).astype(np.uint8)
    packed[128:132] = [0x00, 0x7F, 0x80, 0xFF]
    target = np.full(256 * (steps + 1), 99, np.uint8)
    widen(packed, 128, steps, target)
    expected = []
    for step in range(1, steps + 1):
        lane = packed.view(np.int8)[128 * step : 128 * step + 128].tolist()
        expected += lane[0::2] + lane[1::2]
    assert target.view(np.int16)[: 128 * steps].tolist() == expected
    assert (target[256 * steps :] == 99).all()
