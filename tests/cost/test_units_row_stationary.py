"""Row-stationary mappings against Eyeriss' papers, brute force and a stepped element."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.cost.geometry import RowStationary
from hqsim.cost.units.row_stationary import RowMapping, map_rows, row_run
from hqsim.errors import UnsupportedError
from tests.cost.work import convolution

EYERISS = RowStationary(rows=12, cols=14, ifmap_words=12, filter_words=224, sum_words=24)


def test_a_pass_by_hand():
    """One set of 3 x 4 elements, 2 channels of 5 filters each, 6 columns, 2 images."""
    conv = convolution(4, 10, 6, 3, padding=1, batch=2).conv
    found = row_run(conv, RowMapping(e=4, p=5, q=2, r=1, t=1, images=2))
    passes = 2 * 2 * 2 * 2  # filters, channels, strips (4 + 2 rows), images
    assert found.passes == passes
    assert found.active == 12
    # 5 * 2 * 3 * 6 MACs of an element; 6 rows of 2 channels come in, 3 words each before the first MAC;
    # 9 * 5 * 2 weights at 4 words per cycle, once for both images.
    assert found.cycles == passes * (180 + 36) + passes // 2 * 23
    assert found.ifmap_words == 2 * 2 * 2 * 6 * 8 * 4
    assert found.filter_words == 9 * 4 * 10 * 2
    assert found.sum_words == 10 * 36 * 2 * 2


def test_sums_bound_a_pass_of_many_filters():
    conv = convolution(1, 24, 8, 1).conv
    # 24 * 8 MACs per element, but 24 * 4 sets * ... of sums at four words per cycle.
    found = row_run(conv, RowMapping(e=8, p=6, q=1, r=1, t=4, images=1))
    assert found.cycles == (24 * 8 * 8 // 4) + 8 + 6


def stepped_macs(conv, mapping):
    """MACs of every element in one image's passes, remainders as whole passes."""
    channels, filters = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    total = 0
    for _ in itertools.product(
        range(0, filters, mapping.p * mapping.t),
        range(0, channels, mapping.q * mapping.r),
        range(0, conv.out_h, mapping.e),
        range(conv.groups * conv.batch),
    ):
        total += mapping.p * mapping.q * conv.kernel_w * conv.out_w
    return total


shapes = st.builds(
    convolution,
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(4, 16),
    st.integers(1, 4),
    stride=st.integers(1, 2),
    batch=st.integers(1, 2),
)


@given(shapes)
def test_the_best_mapping_fits_the_array_and_never_beats_its_macs(work):
    mapping, found = map_rows(EYERISS, work.conv)
    conv = work.conv
    assert mapping.q * conv.kernel_w <= 12
    assert mapping.p * mapping.q * conv.kernel_w <= 224
    assert mapping.p <= 24
    stacked = 12 // conv.kernel_h
    segments = -(-mapping.e // 14)
    side_by_side = 14 // mapping.e if mapping.e <= 14 else 1
    assert mapping.r * mapping.t * segments <= stacked * side_by_side
    assert found.cycles >= stepped_macs(conv, mapping) >= work.macs / 168


@given(shapes)
def test_no_even_mapping_is_faster(work):
    """Brute force over all parameters of small steps: the search loses none that is faster."""
    conv = work.conv
    _, best = map_rows(EYERISS, conv)
    stacked = 12 // conv.kernel_h
    for e in {1, 2, 5, conv.out_h} & set(range(1, conv.out_h + 1)):
        sets = stacked * (14 // e) if e <= 14 else stacked // -(-e // 14)
        for q, r, p in itertools.product({1, 2, 3}, {1, 2} & set(range(1, sets + 1)), {1, 4, 8, 16, 24}):
            if q * conv.kernel_w > 12 or p * q * conv.kernel_w > 224:
                continue
            mapping = RowMapping(e=e, p=p, q=q, r=r, t=sets // r, images=conv.batch)
            assert best.cycles <= row_run(conv, mapping).cycles


@pytest.mark.parametrize(("kernel", "ifmap"), [(13, 13), (11, 10)])
def test_kernels_that_no_array_holds(kernel, ifmap):
    narrow = RowStationary(rows=12, cols=14, ifmap_words=ifmap, filter_words=224, sum_words=24)
    with pytest.raises(UnsupportedError, match=rf"cannot hold a kernel of {kernel} x {kernel}"):
        map_rows(narrow, convolution(1, 1, 20, kernel).conv)
