"""Requantization against TOSA's pseudo-code, in Python integers.

Source: TOSA specification 1.0, section "Scaling" (https://www.mlplatform.org/tosa/tosa_spec.html):

    int32_t apply_scale_16(int48_t value, int16_t multiplier, int8_t shift) {
        REQUIRE(multiplier >= 0);
        REQUIRE(2 <= shift && shift <= 62);
        int64_t round = (1 << (shift - 1));
        int64_t result = static_cast<int64_t>(value) * multiplier + round;
        result = result >> shift;
        REQUIRE(result >= minimum_s<int32_t> && result <= maximum_s<int32_t>);
        return static_cast<int32_t>(result);
    }

and the end of RESCALE: ``result = apply_clip_s(result + output_zp, minimum, maximum)``.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from hqsim.numerics import Format, dyadic, shift_round_half_up
from hqsim.ops.rescale import rescale_exact, rescale_integer
from tests.oracle.layers import channel_factors, codes, linear_node, operand, whole_layer

LAST = 2**47 - 1
INT16 = Format(bits=16, scales=(1.0,))


def scale_16(value: int, multiplier: int, shift: int) -> int:
    """``apply_scale_16`` without its last REQUIRE."""
    assert -(2**47) <= value < 2**47
    assert 0 <= multiplier < 2**15
    assert 2 <= shift <= 62
    return (value * multiplier + (1 << (shift - 1))) >> shift


def apply_scale_16(value: int, multiplier: int, shift: int) -> int:
    result = scale_16(value, multiplier, shift)
    assert -(2**31) <= result < 2**31
    return result


def tosa_rescale(value: int, multiplier: int, shift: int, output: Format) -> int:
    return min(max(apply_scale_16(value, multiplier, shift), output.low), output.high)


VALUES = st.integers(-(2**47), LAST) | st.integers(-(2**31), 2**31 - 1)
OUTPUTS = st.sampled_from([Format(bits=bits, scales=(1.0,)) for bits in (4, 8, 16)])


@given(VALUES, st.integers(2**14, 2**15 - 1), st.integers(2, 62), OUTPUTS)
@example(LAST, 2**15 - 1, 62, INT16)
@example(-LAST - 1, 2**15 - 1, 62, INT16)
@example(2**31 - 1, 2**15 - 1, 15, INT16)
@example(-(2**31), 2**14, 14, INT16)
@example(2**18 - 1, 2**15 - 1, 2, INT16)
@example(-5, 2**14, 15, Format(bits=4, scales=(1.0,)))
def test_both_forms_are_single_round(value: int, multiplier: int, shift: int, output: Format) -> None:
    assume(-(2**31) <= scale_16(value, multiplier, shift) < 2**31)
    x = np.array([[value]], np.int64)
    expected = tosa_rescale(value, multiplier, shift, output)
    saturated = expected != apply_scale_16(value, multiplier, shift)
    for rescale in (rescale_integer, rescale_exact):
        codes, count = rescale(x, np.array([multiplier]), np.array([shift]), output)
        assert (int(codes[0, 0]), count) == (expected, saturated)
    assert int(shift_round_half_up(value * multiplier, shift)) == apply_scale_16(value, multiplier, shift)


@pytest.mark.parametrize(("bits", "more"), [(8, 0), (16, 8)])
@pytest.mark.parametrize("fill", ["random", "low", "high"])
def test_per_channel(bits: int, more: int, fill: str) -> None:
    """Sums of 32 bits, and the wide sums of a layer that int32 cannot hold."""
    source = operand(bits)
    x, weight = codes(source.low, source.high, (9, 8640), fill), codes(-127, 127, (6, 8640), "high")
    factors = channel_factors(6, more)
    result = whole_layer(linear_node(x, weight), x, source, weight, factors, INT16)
    sums = x @ weight.T
    assert (np.abs(sums).max() >= 2**31) == (bits == 16 and fill != "random")
    for (row, channel), value in np.ndenumerate(sums):
        assert result[row, channel] == tosa_rescale(
            int(value), factors[0][channel], factors[1][channel], INT16
        )


@pytest.mark.parametrize(("value", "expected"), [(-5, -2), (-3, -1), (-1, 0), (1, 1), (3, 2), (5, 3)])
def test_halves(value: int, expected: int) -> None:
    """One half as a dyadic factor is 2**14 * 2**-15."""
    factor = dyadic([0.5])
    assert apply_scale_16(value, int(factor.multiplier[0]), int(factor.shift[0])) == expected
    output = Format(bits=8, scales=(1.0,))
    codes, _ = rescale_integer(np.array([[value]], np.int32), factor.multiplier, factor.shift, output)
    assert int(codes[0, 0]) == expected
