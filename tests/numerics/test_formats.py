"""Formats: ranges, storage types, encoding."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hqsim.errors import NumericsError
from hqsim.numerics import Format


@pytest.mark.parametrize(
    ("bits", "signed", "restricted", "low", "high", "dtype"),
    [
        (4, True, False, -8, 7, np.int8),
        (4, True, True, -7, 7, np.int8),
        (4, False, False, 0, 15, np.uint8),
        (8, True, False, -128, 127, np.int8),
        (8, True, True, -127, 127, np.int8),
        (8, False, False, 0, 255, np.uint8),
        (16, True, False, -32768, 32767, np.int16),
        (16, False, False, 0, 65535, np.uint16),
        (24, True, False, -8388608, 8388607, np.int32),
    ],
)
def test_range_and_storage(
    bits: int, signed: bool, restricted: bool, low: int, high: int, dtype: type[np.integer]
) -> None:
    codes = Format(bits=bits, scales=(1.0,), signed=signed, restricted=restricted)
    assert (codes.low, codes.high, codes.dtype) == (low, high, np.dtype(dtype))
    assert np.iinfo(codes.dtype).min <= codes.low
    assert codes.high <= np.iinfo(codes.dtype).max


@given(st.integers(2, 24), st.booleans())
def test_the_storage_type_holds_every_code(bits: int, signed: bool) -> None:
    codes = Format(bits=bits, scales=(1.0,), signed=signed)
    ends = np.array([codes.low, codes.high], np.int64)
    assert (ends.astype(codes.dtype) == ends).all()
    assert codes.high - codes.low + 1 == 2**bits


def test_encoding_rounds_half_up_and_saturates() -> None:
    codes = Format(bits=4, scales=(0.5,)).encode(
        np.array([-100.0, -4.25, -0.25, 0.25, 0.74, 3.24, 3.25, 1e300, -1e300])
    )
    assert codes.dtype == np.int8
    assert codes.tolist() == [-8, -8, 0, 1, 1, 6, 7, 7, -8]


def test_unsigned_codes_stop_at_zero() -> None:
    assert Format(bits=8, scales=(1.0,), signed=False).encode(np.array([-3.0, 0.5, 300.0])).tolist() == [
        0,
        1,
        255,
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(NumericsError, match=rf"^values to encode must be finite, got {value}$"):
        Format(bits=8, scales=(1.0,)).encode(np.array([0.0, value]))


def test_zero_points_per_timestep() -> None:
    table = Format(bits=4, scales=(0.5, 0.25), signed=False, zero_points=(3, 9))
    assert [table.zero_point_at(0), table.zero_point_at(1)] == [3, 9]
    assert Format(bits=4, scales=(0.5, 0.25)).zero_point_at(1) == 0
    assert table.decode(np.array([0, 3, 15], np.uint8), 0).tolist() == [-1.5, 0.0, 6.0]
    assert table.decode(np.array([0, 9, 15], np.uint8), 1).tolist() == [-2.25, 0.0, 1.5]


def test_encoding_with_a_zero_point() -> None:
    format_ = Format(bits=4, scales=(0.5,), signed=False, zero_points=(3,))
    assert format_.encode(np.array([-9.0, -1.5, 0.0, 0.25, 6.0, 9.0])).tolist() == [0, 0, 3, 4, 15, 15]


def test_scales_per_timestep() -> None:
    table = Format(bits=4, scales=(0.5, 0.25))
    assert [table.scale_at(0), table.scale_at(1)] == [0.5, 0.25]
    with pytest.raises(
        ValueError, match=r"^a tensor with 2 scales has no single one; use scale_at\(entry\)$"
    ):
        _ = table.scale
    assert Format(bits=4, scales=(0.5,)).scale_at(7) == 0.5


@given(
    st.integers(2, 24),
    st.booleans(),
    st.booleans(),
    st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=3).map(tuple),
    st.lists(st.integers(0, 65535), min_size=1, max_size=3).map(tuple),
)
def test_json_keeps_every_bit(bits, signed, restricted, scales, zero_points) -> None:
    codes = Format(bits=bits, scales=scales, signed=signed, restricted=restricted, zero_points=zero_points)
    assert Format.from_json(json.loads(json.dumps(codes.to_json()))) == codes
