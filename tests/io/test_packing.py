"""Packed codes against bytes worked out by hand and against a naive bit string."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hqsim.errors import InputError
from hqsim.io.packing import pack_codes, packed_size_bytes, unpack_codes


def naive_pack(codes, bits):
    """Write every code as text, lowest bit first, and cut the text into bytes."""
    stream = "".join(f"{code % 2**bits:0{bits}b}"[::-1] for code in codes)
    stream += "0" * (-len(stream) % 8)
    return [int(stream[start : start + 8][::-1], 2) for start in range(0, len(stream), 8)]


@st.composite
def codes_and_bits(draw):
    bits = draw(st.integers(2, 8))
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7))
    elements = st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return draw(arrays.arrays(np.int8, shape, elements=elements)), bits


@pytest.mark.parametrize(
    ("codes", "bits", "expected"),
    [
        ([1, -1], 4, [0xF1]),
        ([-8, 7, 3], 4, [0x78, 0x03]),
        ([1, -2, -1, 0], 2, [0b00_11_10_01]),
        ([3, -4, 1], 3, [0b01_100_011, 0b0000000_0]),
        ([-1, 0, -1], 3, [0b11_000_111, 0b0000000_1]),
        ([-128, 127], 8, [0x80, 0x7F]),
        ([], 4, []),
    ],
)
def test_bytes_worked_out_by_hand(codes, bits, expected):
    packed = pack_codes(np.array(codes, np.int8), bits)
    assert packed.dtype == np.uint8
    assert packed.tolist() == expected


@given(codes_and_bits())
def test_equal_to_a_naive_bit_string_and_back(case):
    codes, bits = case
    packed = pack_codes(codes, bits)
    assert packed.tolist() == naive_pack(codes.ravel().tolist(), bits)
    assert packed.size == packed_size_bytes(codes.size, bits)
    back = unpack_codes(packed, bits, codes.shape)
    assert back.dtype == np.int8
    assert back.shape == codes.shape
    np.testing.assert_array_equal(back, codes)


@pytest.mark.parametrize("bits", range(2, 9))
def test_every_code_of_every_width_comes_back(bits):
    codes = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1)).astype(np.int8)
    np.testing.assert_array_equal(unpack_codes(pack_codes(codes, bits), bits, codes.shape), codes)


def test_int4_takes_half_a_byte():
    assert packed_size_bytes(1_000_001, 4) == 500_001
    assert pack_codes(np.zeros(1_000_001, np.int8), 4).nbytes == 500_001


def test_memory_layout_does_not_matter():
    codes = np.arange(-8, 7, dtype=np.int8).reshape(3, 5)
    expected = naive_pack(codes.T.ravel().tolist(), 4)
    assert pack_codes(codes.T, 4).tolist() == expected
    assert pack_codes(np.asfortranarray(codes.T), 4).tolist() == expected
    read_only = np.array(expected, np.uint8)
    read_only.flags.writeable = False
    back = unpack_codes(read_only, 4, (5, 3))
    np.testing.assert_array_equal(back, codes.T)
    back[0, 0] = 0


@pytest.mark.parametrize(("code", "bits"), [(8, 4), (-9, 4), (2, 2), (-3, 2), (64, 7), (-65, 7)])
def test_code_out_of_range_is_named_with_the_range(code, bits):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    with pytest.raises(
        InputError,
        match=rf"^code {code} does not fit in {bits} bits: allowed is \[{low}, {high}\] \(1 of 3 codes",
    ):
        pack_codes(np.array([0, code, 1], np.int8), bits)


@pytest.mark.parametrize("bits", [-4, 0, 1, 9, 16])
def test_width_out_of_range(bits):
    with pytest.raises(InputError, match=f"^codes are packed at 2 to 8 bits, not {bits}$"):
        pack_codes(np.zeros(2, np.int8), bits)
    with pytest.raises(InputError, match=f"^codes are packed at 2 to 8 bits, not {bits}$"):
        unpack_codes(np.zeros(2, np.uint8), bits, (2,))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, bool])
def test_codes_of_another_dtype_are_refused(dtype):
    with pytest.raises(InputError, match=rf"^codes to pack must be int8, not {np.dtype(dtype)}$"):
        pack_codes(np.zeros(2, dtype), 4)


def test_packed_array_of_another_dtype_or_rank_is_refused():
    with pytest.raises(InputError, match="must be one-dimensional uint8, not 1-d int8"):
        unpack_codes(np.zeros(2, np.int8), 4, (4,))
    with pytest.raises(InputError, match="must be one-dimensional uint8, not 2-d uint8"):
        unpack_codes(np.zeros((2, 1), np.uint8), 4, (4,))


@pytest.mark.parametrize(("size", "shape"), [(1, (3,)), (3, (3,)), (0, ()), (1, (0, 5)), (2, (10**9, 10**9))])
def test_size_that_does_not_follow_from_the_shape_is_refused(size, shape):
    count = math.prod(shape)
    with pytest.raises(
        InputError, match=rf"^{count} codes of 4 bits .* take {-(-count // 2)} bytes, not {size}$"
    ):
        unpack_codes(np.zeros(size, np.uint8), 4, shape)


def test_negative_shape_is_refused():
    with pytest.raises(InputError, match="must not be negative"):
        unpack_codes(np.zeros(1, np.uint8), 4, (-1, -2))


def test_filling_bits_that_are_not_zero_are_damage():
    with pytest.raises(
        InputError, match="the last 4 bits of the packed codes must be zero; the data is damaged"
    ):
        unpack_codes(np.array([0x21, 0x13], np.uint8), 4, (3,))
