from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.cost.cuts import channel_cuts, pixel_cuts, plain_cuts, windows
from hqsim.graph.record import ConvWork


def conv(**changes):
    values = {
        "kernel_h": 3, "kernel_w": 3, "stride_h": 1, "stride_w": 1, "in_h": 6, "in_w": 4, "out_h": 6,
        "out_w": 4, "in_channels": 8, "out_channels": 8, "groups": 2, "batch": 2,
    }  # fmt: skip
    return ConvWork(**{**values, **changes})


def test_a_dimension_is_halved_down_to_single_elements():
    cuts = plain_cuts(10, 1)
    assert cuts.parts.tolist() == [1, 2, 4, 8, 10]
    assert cuts.sizes.tolist() == [10, 5, 3, 2, 1]
    assert plain_cuts(10, 4).parts.tolist() == [4, 8, 10]


@given(st.integers(1, 60), st.integers(0, 5), st.integers(0, 5))
def test_pieces_lie_inside_the_outer_ones(length, coarse, more):
    def edges(parts):
        return {piece * length // parts for piece in range(parts + 1)}

    outer = min(length, 2**coarse)
    inner = int(plain_cuts(length, outer).parts[: more + 1][-1])
    assert edges(outer) <= edges(inner)
    steps = np.diff(sorted(edges(inner)))
    assert len(steps) == inner
    assert steps.max() == plain_cuts(length, inner).sizes[0]


@given(st.integers(1, 60), st.integers(1, 60))
def test_any_other_limit_takes_the_fewest_equal_pieces(length, limit):
    (parts,), (size,) = plain_cuts(length, 1, limit).parts, plain_cuts(length, 1, limit).sizes
    assert size <= limit
    free = plain_cuts(length, 1)
    if limit in free.sizes:
        assert parts == free.parts[free.sizes == limit]
    else:
        assert parts == 1 or -(-length // (parts - 1)) > limit


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.integers(0, 6), st.integers(0, 20))
def test_the_size_of_a_way_as_a_limit_is_that_way(height, width, batch, coarse, more):
    shape = conv(in_h=height, in_w=width, out_h=height, out_w=width, batch=batch)
    for cut in (lambda *of: pixel_cuts(shape, *of), lambda *of: plain_cuts(height * width, *of)):
        outer = int(cut(1).parts[: coarse + 1][-1])
        free = cut(outer)
        way = min(more, len(free.parts) - 1)
        limited = cut(outer, int(free.sizes[way]))
        for field in ("parts", "sizes", "reads", "footprint"):
            assert getattr(limited, field).tolist() == [getattr(free, field)[way]]


def test_pixels_are_cut_by_images_then_rows_then_columns():
    cuts = pixel_cuts(conv(), 1)
    assert cuts.parts.tolist() == [1, 2, 4, 8, 12, 24, 48]
    assert cuts.sizes.tolist() == [48, 24, 12, 8, 4, 2, 1]
    # Half an image is 3 rows and reads 4 of 6; its 4 columns are all there are.
    assert cuts.reads.tolist()[:3] == [48, 48, 2 * (4 + 4) * 4]
    assert cuts.footprint.tolist()[:3] == [48, 24, 16]


@pytest.mark.parametrize(
    ("limit", "parts"), [(48, 1), (30, 2), (24, 2), (23, 4), (12, 4), (11, 6), (4, 12), (3, 24), (1, 48)]
)
def test_limited_pixels(limit, parts):
    # Images of 6 rows of 4: 23 pixels are 5 rows, so 2 pieces of 3; 11 are 2 rows, so 3 pieces.
    cuts = pixel_cuts(conv(), 1, limit)
    assert cuts.parts.tolist() == [parts]
    assert cuts.sizes[0] <= limit


def test_channels_are_cut_in_whole_windows():
    cuts = channel_cuts(conv(), 1)
    assert (cuts.parts.tolist(), cuts.sizes.tolist()) == ([1, 2, 4], [36, 18, 9])
    assert cuts.footprint.tolist() == [4, 2, 1]
    assert channel_cuts(conv(), 1, 20).sizes.tolist() == [18]


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 12))
def test_windows_by_looking_at_every_output(out_size, kernel, stride, padding, parts):
    in_size = (out_size - 1) * stride + kernel - 2 * padding
    if in_size < 1 or parts > out_size or 2 * padding > kernel:
        return
    reads = []
    for piece in range(parts):
        outputs = range(piece * out_size // parts, (piece + 1) * out_size // parts)
        seen = {position * stride - padding + tap for position, tap in product(outputs, range(kernel))}
        inside = [pixel for pixel in seen if 0 <= pixel < in_size]
        reads.append(max(inside) - min(inside) + 1 if inside else 0)
    assert windows(in_size, out_size, kernel, stride, parts) == (max(in_size, sum(reads)), max(reads))
