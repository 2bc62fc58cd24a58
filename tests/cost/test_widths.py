import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.cost.geometry import BitComposable, Systolic
from hqsim.cost.machine import NativeWidth
from hqsim.cost.matrix import matrix_run
from hqsim.cost.widths import MultiplierMode, multiplier_mode
from hqsim.errors import UnsupportedError
from tests.cost.work import product, unit

ARRAY = Systolic(rows=2, cols=2)


def mode(native, a_bits, w_bits, other_widths="passes", layer="conv"):
    return multiplier_mode(
        unit(ARRAY, *native, other_widths=other_widths), a_bits=a_bits, w_bits=w_bits, layer=layer
    )


@pytest.mark.parametrize(
    ("a_bits", "w_bits", "native", "passes"),
    [(4, 4, (8, 8), 1), (8, 8, (8, 8), 1), (9, 4, (16, 8), 1), (16, 16, (16, 8), 2), (17, 9, (16, 8), 4)],
)
def test_passes_compose_what_no_multiplier_covers(a_bits, w_bits, native, passes):
    found = mode([(16, 8, 1.0), (8, 8, 1.0)], a_bits, w_bits)
    assert (found.a_bits, found.w_bits) == native
    assert found.passes == passes


def test_single_hadamard_of_order_5_takes_two_passes_on_int8():
    assert mode([(8, 8, 1.0)], 9, 4).passes == 2
    assert mode([(8, 8, 1.0)], 7, 4).passes == 1


def test_a_faster_multiplier_wins_over_a_smaller_one():
    tensor_core = [(8, 8, 2.0), (4, 4, 4.0)]
    assert mode(tensor_core, 4, 4) == MultiplierMode(a_bits=4, w_bits=4, rate=4.0)
    assert mode(tensor_core, 4, 8) == MultiplierMode(a_bits=8, w_bits=8, rate=2.0)
    # 9 bits: three slices of 4 at rate 4 would be faster, but slices are as wide as the unit has.
    assert mode(tensor_core, 9, 4) == MultiplierMode(a_bits=8, w_bits=8, a_passes=2, rate=2.0)
    assert mode([(16, 16, 1.0), (8, 8, 2.0)], 4, 8).a_bits == 8


@pytest.mark.parametrize(
    ("a_bits", "w_bits", "native", "rate"),
    [
        (8, 8, (8, 8), 1),
        (4, 4, (4, 4), 4),
        (2, 2, (2, 2), 16),
        (1, 1, (2, 2), 16),
        (3, 8, (4, 8), 2),
        (5, 2, (8, 2), 4),
    ],
)
def test_bit_fusion_composes_its_own_widths(a_bits, w_bits, native, rate):
    """``floor(8 / a) * floor(8 / w)`` of widths rounded up to 2, 4, 8, whatever the native list says."""
    fusion = unit(BitComposable(rows=2, cols=2))
    found = multiplier_mode(fusion, a_bits=a_bits, w_bits=w_bits, layer="conv")
    assert found == MultiplierMode(a_bits=native[0], w_bits=native[1], rate=rate)


def test_bit_fusion_takes_wider_operands_in_slices():
    found = multiplier_mode(unit(BitComposable(rows=2, cols=2)), a_bits=9, w_bits=4, layer="conv")
    assert found == MultiplierMode(a_bits=8, w_bits=4, a_passes=2, rate=2)


def test_next_wider_refuses_what_it_does_not_cover():
    native = [(8, 8, 1.0), (16, 8, 1.0)]
    assert mode(native, 9, 3, "next_wider").a_bits == 16
    message = (
        r"layer 'mid\.conv' needs a multiplier of 8 x 9 bits \(activation x weight\), but matrix unit 'unit' "
        r"has 8 x 8, 16 x 8 and its rule for other widths is 'next_wider'"
    )
    with pytest.raises(UnsupportedError, match=message):
        mode(native, 8, 9, "next_wider", layer="mid.conv")


def test_unsupported_wants_exact_widths():
    native = [(8, 8, 1.0), (4, 4, 1.0)]
    assert mode(native, 4, 4, "unsupported").a_bits == 4
    with pytest.raises(UnsupportedError, match=r"4 x 8 bits"):
        mode(native, 4, 8, "unsupported")


widths = st.integers(1, 20)
rates = st.sampled_from([0.5, 1.0, 2.0, 4.0])


@given(
    st.lists(st.tuples(widths, widths, rates), min_size=1, max_size=4),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_wider_operands_never_take_less_time(native, a_bits, w_bits, da, dw):
    narrow = mode(native, a_bits, w_bits)
    wide = mode(native, a_bits + da, w_bits + dw)
    assert wide.passes / wide.rate >= narrow.passes / narrow.rate
    assert narrow.a_bits * narrow.a_passes >= a_bits
    assert narrow.w_bits * narrow.w_passes >= w_bits


def test_the_fastest_multiplier_of_a_small_product_need_not_be_the_fastest_on_paper():
    """K = 3 on two rows: one fold at rate 2, two at rate 1. On four rows both take one, the smaller wins."""
    native = (NativeWidth(a_bits=8, w_bits=8, rate=2.0), NativeWidth(a_bits=4, w_bits=4))
    work = dataclasses.replace(product(5, 2, 3), a_multiplier_bits=4, w_multiplier_bits=4)

    def multiplier(rows):
        array = unit(Systolic(rows=rows, cols=2, dataflow="ws"))
        return matrix_run(dataclasses.replace(array, native=native), work, layer="fc").mode.a_bits

    assert (multiplier(2), multiplier(4)) == (8, 4)
