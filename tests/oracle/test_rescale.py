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

from hqsim.kernels.elementwise import requantize
from hqsim.numerics import Format, dyadic, shift_round_half_up
from hqsim.ops.rescale import rescale_exact, rescale_integer

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


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_per_channel(dtype: type[np.signedinteger]) -> None:
    """int32 sums, and the wide sums of a layer that int32 cannot hold."""
    rng = np.random.default_rng(0)
    reach = 2**31 if dtype is np.int32 else 2**47
    sums = rng.integers(-reach, reach, (2, 6, 50)).astype(dtype)
    sums[0, :, 0], sums[1, :, 0] = -reach, reach - 1
    factor = dyadic(2.0**15 / reach * 2.0 ** rng.uniform(-2, 1, 6))
    codes = np.empty(sums.shape, np.int16)
    limits = (np.int64(INT16.low), np.int64(INT16.high))
    requantize(sums, factor.multiplier, factor.shift, np.zeros(6, np.int64), np.int64(0), *limits, codes)
    for o, c, i in np.ndindex(sums.shape):
        multiplier, shift = int(factor.multiplier[c]), int(factor.shift[c])
        assert codes[o, c, i] == tosa_rescale(int(sums[o, c, i]), multiplier, shift, INT16)


@pytest.mark.parametrize(("value", "expected"), [(-5, -2), (-3, -1), (-1, 0), (1, 1), (3, 2), (5, 3)])
def test_halves(value: int, expected: int) -> None:
    """One half as a dyadic factor is 2**14 * 2**-15."""
    factor = dyadic([0.5])
    assert apply_scale_16(value, int(factor.multiplier[0]), int(factor.shift[0])) == expected
    output = Format(bits=8, scales=(1.0,))
    codes, _ = rescale_integer(np.array([[value]], np.int32), factor.multiplier, factor.shift, output)
    assert int(codes[0, 0]) == expected
