"""Weights as the product kernels want them: panels of 32 columns, four weights of a column side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.product import BYTES, NIBBLES, WORDS
from hqsim.kernels.threads import part_of, share, team_size
from hqsim.kernels.tile import COLUMNS, EIGHT

NATURAL, SWAPPED = (0, 1, 2, 3), (0, 2, 1, 3)
"""Order of four weights in 8-bit panels: for 8-bit rows, and for 16-bit rows (two shifts widen it)."""


@dataclass(frozen=True)
class Panels:
    """Packed weights.

    ``data`` uint8 ``[groups or 1, bytes]``; ``sums`` int32 ``[groups or 1, outputs]``, the sum of each
    column's weights; ``largest`` bounds a weight's magnitude; ``form`` and ``storage`` as in ``tile`` and
    ``product``.
    """

    data: np.ndarray
    sums: np.ndarray
    form: int
    storage: int
    largest: int

    @property
    def outputs(self) -> int:
        """Output columns of a group."""
        return int(self.sums.shape[1])


def padded_channels(channels: int) -> int:
    """Return ``channels`` filled up to a whole number of four."""
    return -(-channels // 4) * 4


def pack_panels(weight: np.ndarray, form: int) -> Panels:
    """Pack integer weights ``[groups, outputs, taps, channels]``; the fewest bytes that hold them.

    4 bits where every weight is in [-8, 7], 8 bits in [-128, 127], else 16 bits (not for ``EIGHT``).
    """
    groups, outputs, taps, channels = weight.shape
    low, high = int(weight.min(initial=0)), int(weight.max(initial=0))
    storage = NIBBLES if low >= -8 and high <= 7 else BYTES if low >= -128 and high <= 127 else WORDS
    assert storage != WORDS or (form != EIGHT and low >= -(2**15) and high < 2**15), (low, high, form)
    kind = np.int16 if storage == WORDS else np.int8
    tiles = -(-outputs // COLUMNS)
    padded = np.zeros((groups, tiles * COLUMNS, taps, padded_channels(channels)), kind)
    padded[:, :outputs, :, :channels] = weight
    lanes = padded.reshape(groups, tiles, COLUMNS, -1, 2 if storage == WORDS else 4)
    if storage != WORDS and form != EIGHT:
        lanes = lanes[..., SWAPPED]
    data = np.ascontiguousarray(lanes.transpose(0, 1, 3, 2, 4)).view(np.uint8)
    if storage == NIBBLES:
        halves = (data + np.uint8(8)).reshape(groups, -1, 2, 64)
        data = halves[:, :, 0] | halves[:, :, 1] << np.uint8(4)
    sums = weight.sum(axis=(2, 3), dtype=np.int32)
    return Panels(data.reshape(groups, -1), sums, form, storage, max(-low, high))


@helper
def _fill_columns(worker, threads, columns, order, wide, data, sums):
    groups, outputs, reduction = columns.shape
    steps = (reduction + 3) // 4
    begin, end = part_of(worker, threads, groups * outputs)
    for unit in range(begin, end):
        group, output = unit // outputs, unit % outputs
        tile, lane = output // 32, output % 32
        bytes_of, words = data[group], data[group].view(np.int16)
        total = np.int64(0)
        for k in range(reduction):
            code = columns[group, output, k]
            total += code
            step, place = k // 4, k % 4
            if wide:
                words[((tile * steps + step) * 2 + place // 2) * 64 + lane * 2 + place % 2] = code
            else:
                bytes_of[(tile * steps + step) * 128 + lane * 4 + order[place]] = np.uint8(code & 255)
        sums[group, output] = total


@kernel
def _fill_panels(columns, order, wide, data, sums):
    """Pack ``columns`` int16 ``[groups, outputs, k]`` into zeroed ``data`` uint8; sum them."""
    share(_fill_columns, team_size(), (columns, order, wide, data, sums))


def pack_activation(columns: np.ndarray, form: int, low: int, high: int) -> Panels:
    """Pack activation codes ``[groups, outputs, k]`` in [low, high] as the columns of a product."""
    groups, outputs, reduction = columns.shape
    wide = low < -128 or high > 127
    steps = -(-reduction // 4)
    data = np.zeros((groups, -(-outputs // COLUMNS) * steps * COLUMNS * (8 if wide else 4)), np.uint8)
    sums = np.empty((groups, outputs), np.int32)
    order = np.array(NATURAL if form == EIGHT else SWAPPED)
    _fill_panels(np.ascontiguousarray(columns, np.int16), order, wide, data, sums)
    return Panels(data, sums, form, WORDS if wide else BYTES, max(-low, high))
