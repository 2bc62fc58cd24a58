"""Two's complement codes of 2 to 8 bits, packed without gaps, lowest bit first.

Code ``i`` takes bits ``i * bits`` to ``(i + 1) * bits - 1`` of the stream; bit ``j`` of the stream is bit
``j % 8`` of byte ``j // 8``. So two int4 share a byte, the first in its low nibble. The last byte is filled
up with zero bits.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hqsim.errors import InputError

MIN_BITS = 2
MAX_BITS = 8

_GROUP = 8


def packed_size_bytes(count: int, bits: int) -> int:
    """Return the bytes that ``count`` codes of ``bits`` bits take."""
    return -(-count * bits // 8)


def pack_codes(codes: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Pack signed codes, in C order.

    Parameters
    ----------
    codes
        int8, any shape, every code in ``[-2**(bits-1), 2**(bits-1) - 1]``.
    bits
        Width of a code, 2 to 8.

    Returns
    -------
    uint8, shape ``[packed_size_bytes(codes.size, bits)]``.

    Raises
    ------
    InputError
        If the width, the dtype or a code is outside its range.
    """
    _check_bits(bits)
    if codes.dtype != np.int8:
        raise InputError(f"codes to pack must be int8, not {codes.dtype}")
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if codes.size and (codes.min() < low or codes.max() > high):
        bad = codes[(codes < low) | (codes > high)]
        raise InputError(
            f"code {bad[0]} does not fit in {bits} bits: allowed is [{low}, {high}] "
            f"({bad.size} of {codes.size} codes are outside)"
        )
    # Eight codes fill exactly `bits` bytes, so a group is assembled in one 64-bit word.
    groups = np.zeros((-(-codes.size // _GROUP), _GROUP), np.uint8)
    groups.reshape(-1)[: codes.size] = codes.reshape(-1).view(np.uint8) & np.uint8((1 << bits) - 1)
    words = np.zeros(len(groups), "<u8")
    for position in range(_GROUP):
        words |= groups[:, position].astype(np.uint64) << np.uint64(position * bits)
    packed = words.view(np.uint8).reshape(-1, 8)[:, :bits].reshape(-1)
    return packed[: packed_size_bytes(codes.size, bits)].copy()


def unpack_codes(packed: NDArray[np.uint8], bits: int, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Return the int8 codes of ``shape`` that `pack_codes` packed.

    Raises
    ------
    InputError
        If the width is outside its range, the size of ``packed`` does not follow from ``shape``, or the
        filling bits of the last byte are not zero.
    """
    _check_bits(bits)
    if packed.dtype != np.uint8 or packed.ndim != 1:
        raise InputError(f"packed codes must be one-dimensional uint8, not {packed.ndim}-d {packed.dtype}")
    if any(length < 0 for length in shape):
        raise InputError(f"the shape of packed codes must not be negative, not {shape}")
    count = math.prod(shape)
    expected = packed_size_bytes(count, bits)
    if packed.size != expected:
        raise InputError(
            f"{count} codes of {bits} bits (shape {shape}) take {expected} bytes, not {packed.size}"
        )
    filling = expected * 8 - count * bits
    if filling and packed[-1] >> (8 - filling):
        raise InputError(f"the last {filling} bits of the packed codes must be zero; the data is damaged")
    stream = np.zeros((-(-count // _GROUP), bits), np.uint8)
    stream.reshape(-1)[:expected] = packed
    padded = np.zeros((len(stream), 8), np.uint8)
    padded[:, :bits] = stream
    words = padded.view("<u8").reshape(-1)
    sign = np.uint8(1 << (bits - 1))
    codes = np.empty((len(words), _GROUP), np.uint8)
    for position in range(_GROUP):
        unsigned = (words >> np.uint64(position * bits)).astype(np.uint8) & np.uint8((1 << bits) - 1)
        codes[:, position] = (unsigned ^ sign) - sign
    return codes.view(np.int8).reshape(-1)[:count].reshape(shape).copy()


def _check_bits(bits: int) -> None:
    if not MIN_BITS <= bits <= MAX_BITS:
        raise InputError(f"codes are packed at {MIN_BITS} to {MAX_BITS} bits, not {bits}")
