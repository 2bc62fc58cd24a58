import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.cost.widths import multiplier_mode
from hqsim.errors import UnsupportedError
from tests.cost.builders import matrix_unit


@pytest.mark.parametrize(
    ("a_bits", "w_bits", "native", "passes"),
    [(4, 4, (8, 8), 1), (8, 8, (8, 8), 1), (9, 4, (16, 8), 1), (16, 16, (16, 8), 2), (17, 9, (16, 8), 4)],
)
def test_passes_compose_what_no_multiplier_covers(a_bits, w_bits, native, passes):
    unit = matrix_unit(native_bits=((16, 8), (8, 8)))
    mode = multiplier_mode(unit, a_bits=a_bits, w_bits=w_bits, layer="conv")
    assert (mode.a_bits, mode.w_bits) == native
    assert mode.passes == passes


def test_single_hadamard_of_order_5_takes_two_passes_on_int8():
    assert multiplier_mode(matrix_unit(), a_bits=9, w_bits=4, layer="conv").passes == 2
    assert multiplier_mode(matrix_unit(), a_bits=7, w_bits=4, layer="conv").passes == 1


def test_next_wider_refuses_what_it_does_not_cover():
    unit = matrix_unit(native_bits=((8, 8), (16, 8)), other_widths="next_wider")
    assert multiplier_mode(unit, a_bits=9, w_bits=3, layer="conv").a_bits == 16
    message = (
        r"layer 'mid\.conv' needs a multiplier of 8 x 9 bits \(activation x weight\), but the matrix unit "
        r"has 8 x 8, 16 x 8 and its rule for other widths is 'next_wider'"
    )
    with pytest.raises(UnsupportedError, match=message):
        multiplier_mode(unit, a_bits=8, w_bits=9, layer="mid.conv")


def test_unsupported_wants_exact_widths():
    unit = matrix_unit(native_bits=((8, 8), (4, 4)), other_widths="unsupported")
    assert multiplier_mode(unit, a_bits=4, w_bits=4, layer="conv").a_bits == 4
    with pytest.raises(UnsupportedError, match=r"4 x 8 bits"):
        multiplier_mode(unit, a_bits=4, w_bits=8, layer="conv")


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=4),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_wider_operands_never_take_fewer_passes_or_smaller_multipliers(native, a_bits, w_bits, da, dw):
    unit = matrix_unit(native_bits=tuple(native))
    narrow = multiplier_mode(unit, a_bits=a_bits, w_bits=w_bits, layer="x")
    wide = multiplier_mode(unit, a_bits=a_bits + da, w_bits=w_bits + dw, layer="x")
    assert wide.passes >= narrow.passes
    assert wide.passes * wide.a_bits * wide.w_bits >= narrow.passes * narrow.a_bits * narrow.w_bits
    assert narrow.a_bits * narrow.a_passes >= a_bits
    assert narrow.w_bits * narrow.w_passes >= w_bits
