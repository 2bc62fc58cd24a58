"""Memory layouts, and which shapes may be repeated."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.graph.broadcast import repeated_axes
from hqsim.ops.layout import in_memory_order, is_channels_last, paired_views

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
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 1, 1), (2, 1, 1, 1), (2, 1, 4, 5), (1, 1, 1, 1)])
def test_views_pair_what_numpy_pairs(a, shape) -> None:
    b = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    first, second, codes, flat = paired_views(a, b, np.dtype(np.int32))
    flat[...] = first.astype(np.int32) * 1000 + second
    assert np.array_equal(codes, a.astype(np.int32) * 1000 + b)
    assert is_channels_last(codes) == is_channels_last(a)
