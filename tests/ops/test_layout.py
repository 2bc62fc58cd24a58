"""Memory layouts, and which shapes may be repeated."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.graph.broadcast import repeated_axes
from hqsim.ops.layout import (
    as_they_lie,
    in_memory_order,
    in_runs,
    is_channels_last,
    paired_runs,
    paired_views,
)

PIXELS = np.arange(2 * 4 * 5 * 3, dtype=np.int16).reshape(2, 4, 5, 3)
LAST = PIXELS.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("large", "small", "expected"),
    [
        ((3, 4, 5), (3, 4, 5), (0, 0)),
        ((3, 4, 5), (3, 1, 1), (1, 3)),
        ((4, 5), (1, 5), (0, 1)),
        ((4, 5), (1, 1), (0, 2)),
        ((3, 4, 5), (3, 1, 5), (1, 2)),
        ((3, 4, 5), (1, 4, 1), None),
        ((4, 5), (5,), None),
        ((4, 5), (4, 2), None),
    ],
)
def test_repeated_axes(large, small, expected) -> None:
    assert repeated_axes(large, small) == expected


def test_channels_last_is_recognised() -> None:
    assert is_channels_last(LAST)
    assert not is_channels_last(np.ascontiguousarray(LAST))
    assert not is_channels_last(LAST[:, :2])
    assert not is_channels_last(PIXELS[0].transpose(2, 0, 1))


@pytest.mark.parametrize("x", [LAST, np.ascontiguousarray(LAST), LAST[:, :, ::2], PIXELS[0]])
def test_memory_order_is_contiguous_and_undone(x) -> None:
    moved, order = in_memory_order(x)
    assert moved.flags.c_contiguous
    assert np.array_equal(moved.transpose(order), x)
    assert np.shares_memory(moved, x) == (is_channels_last(x) or x.flags.c_contiguous)


@pytest.mark.parametrize("a", [LAST, np.ascontiguousarray(LAST)])
@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (2, 1, 1, 1), (2, 1, 4, 5), (1, 1, 1, 1)])
def test_views_pair_what_numpy_pairs(a, shape) -> None:
    b = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    first, second, codes, flat = paired_views(a, b, np.dtype(np.int32))
    flat[...] = first.astype(np.int32) * 1000 + second
    assert np.array_equal(codes, a.astype(np.int32) * 1000 + b)
    assert is_channels_last(codes) == is_channels_last(a)


@pytest.mark.parametrize("a", [LAST, np.ascontiguousarray(LAST), PIXELS[0]])
@pytest.mark.parametrize("shift", [0, 7])
def test_two_sides_have_the_same_order_of_axes(a, shift: int) -> None:
    b = np.ascontiguousarray(a) + np.int16(shift)
    first, second, order = as_they_lie(a, b)
    assert first.flags.c_contiguous
    assert np.array_equal(second - first, np.full(first.shape, shift))
    assert np.array_equal(first.transpose(order), a)


WIDE = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def read(memory: np.ndarray, pitch: int, run: int, size: int) -> list[int]:
    """Elements of runs ``pitch`` apart."""
    return [int(memory[index // run * pitch + index % run]) for index in range(size)]


@pytest.mark.parametrize(
    ("x", "run", "in_place"),
    [
        (WIDE, 120, True),
        (WIDE[..., 1:4], 3, True),
        (WIDE[:1, :, 2:], 4, True),
        (WIDE[:, 1:3], 48, False),
        (WIDE[..., ::2], 60, False),
        (WIDE[::-1, :, :3], 60, False),
        (WIDE.transpose(0, 2, 1), 120, False),
        (WIDE[:0], 0, True),
    ],
)
def test_runs_of_a_slice_are_read_in_place(x: np.ndarray, run: int, in_place: bool) -> None:
    memory, pitch, length = in_runs(x)
    assert length == run
    assert read(memory, pitch, run, x.size) == x.reshape(-1).tolist()
    assert np.shares_memory(memory, x) == (in_place and x.size > 0)


@pytest.mark.parametrize(
    ("a", "b"),
    [(WIDE[..., 1:4], WIDE[..., 2:5]), (WIDE[..., :3], WIDE[..., 3:].copy()), (WIDE, WIDE[::-1])],
)
def test_two_sides_have_the_same_runs(a: np.ndarray, b: np.ndarray) -> None:
    for first, second in ((a, b), (b, a)):
        memory, pitch, other, other_pitch, run = paired_runs(first, second)
        assert read(memory, pitch, run, a.size) == first.reshape(-1).tolist()
        assert read(other, other_pitch, run, a.size) == second.reshape(-1).tolist()
