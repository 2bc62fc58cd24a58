"""Weights as the product kernels want them: panels of 32 columns, four weights of a column side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hqsim.kernels.interleave import fill_steps
from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.product import BYTES, NIBBLES, WORDS
from hqsim.kernels.threads import part_of, share, team_size
from hqsim.kernels.tile import COLUMNS, EIGHT

SWAPPED = (0, 2, 1, 3)
"""Order of four weights in 8-bit panels for 16-bit rows (two shifts widen it); for 8-bit rows they follow."""


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
def _fill_rest(memory, start, column, row, first, codes, swapped, wide, data, goal, sums):
    """Add one by one what whole steps of 32 columns leave of ``codes`` a column, from code ``first`` on."""
    words = data.view(np.int16)
    for lane in range(sums.shape[0]):
        for k in range(first, codes):
            code = np.int64(memory[start + lane * column + k * row])
            sums[lane] += np.int32(code)
            step, place = k // 4, k % 4
            if wide:
                words[goal // 2 + (step * 2 + place // 2) * 64 + lane * 2 + place % 2] = np.int16(code)
            else:
                place = 3 - place if swapped and place % 3 != 0 else place
                data[goal + step * 128 + lane * 4 + place] = np.uint8(code & 255)


@helper
def _fill_columns(worker, threads, memory, pitches, codes, swapped, wide, data, sums):
    groups, outputs = sums.shape
    tiles, steps = (outputs + 31) // 32, (codes + 3) // 4
    step_bytes = 256 if wide else 128
    begin, end = part_of(worker, threads, groups * tiles)
    for unit in range(begin, end):
        group, tile = unit // tiles, unit % tiles
        goal, first = tile * steps * step_bytes, tile * 32
        totals = sums[group, first : min(first + 32, outputs)]
        start, column, row = group * pitches[0] + first * pitches[1], pitches[1], pitches[2]
        done = np.int64(0)
        totals[:] = 0
        if totals.shape[0] == 32:
            done = fill_steps(
                memory, start, column, row, codes // 4, swapped, wide, data[group], goal, totals
            )
        data[group, goal + done * step_bytes : goal + steps * step_bytes] = 0
        _fill_rest(memory, start, column, row, done * 4, codes, swapped, wide, data[group], goal, totals)


@kernel
def _fill_panels(memory, pitches, codes, swapped, wide, data, sums):
    """Pack columns of ``codes`` codes each into ``data`` uint8 ``[groups, bytes]``; sum them.

    ``memory [n]`` holds the codes; ``pitches``: its elements from group to group, from column to column, from
    code to code; ``sums`` int32 ``[groups, columns]``.
    """
    share(_fill_columns, team_size(), (memory, pitches, codes, swapped, wide, data, sums))


def in_place(codes: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return ``codes`` in the order in which they lie, 1-D, and how many lie from neighbour to neighbour.

    Per axis. They are copied only if no order of the axes makes them contiguous.
    """
    axes = list(range(codes.ndim))
    if not codes.flags.c_contiguous:
        axes.sort(key=codes.strides.__getitem__, reverse=True)
    moved = np.ascontiguousarray(codes.transpose(axes))
    pitches = {axis: stride // codes.itemsize for axis, stride in zip(axes, moved.strides, strict=True)}
    return moved.reshape(-1), tuple([pitches[axis] for axis in range(codes.ndim)])


def pack_activation(columns: np.ndarray, form: int, low: int, high: int) -> Panels:
    """Pack activation codes ``[groups, outputs, k]`` of 8 or 16 bits, in [low, high], where they lie."""
    groups, outputs, reduction = columns.shape
    wide = low < -128 or high > 127
    steps = -(-reduction // 4)
    data = np.empty((groups, -(-outputs // COLUMNS) * steps * COLUMNS * (8 if wide else 4)), np.uint8)
    sums = np.empty((groups, outputs), np.int32)
    memory, pitches = in_place(columns)
    _fill_panels(memory, pitches, reduction, form != EIGHT, wide, data, sums)
    return Panels(data, sums, form, WORDS if wide else BYTES, max(-low, high))
