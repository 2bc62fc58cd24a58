"""Every matrix product of codes: convolution, linear layer and attention product in one blocked kernel.

A product has ``groups`` independent parts (samples and heads of attention, groups of a convolution; one for a
linear layer). Its rows are output pixels or tokens, gathered from channels-last bytes a block at a time: an
implicit GEMM that never holds an im2col of the activation. Its columns are output channels, in panels of 32
that stay packed and are unpacked into a first-cache buffer. Threads take disjoint blocks of the result;
integer sums do not depend on it.

``multiply_sums`` gives the exact sums (int64), ``multiply_codes`` goes on to rescaled codes while a block is
in cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.tile import CHUNK_BYTES, COLUMNS, EIGHT, ROW_BYTES, ROWS, STEP_BYTES, add_tile
from hqsim.kernels.vector import copy_run, rescale_row, unpack_nibbles, widen

BLOCK_ROWS = 16 * ROWS
"""Most rows that share one unpacking of a panel."""
BLOCK_COLUMNS = 512
"""Most columns of a block (its sums stay in the second cache)."""
NIBBLES, BYTES, WORDS = 0, 1, 2
"""How a panel is stored: 4 bits, 8 bits, or 16 bits a weight."""


class Rows(NamedTuple):
    """Where the rows of a product lie, all in bytes or pixels of the activation's memory.

    ``height``, ``width``: pixels of the input; ``kernel_height``, ``kernel_width``, ``stride``, ``top``,
    ``left``: the window; ``out_height`` and ``columns`` (input column of each output column, padding not
    subtracted): pixels of the output; ``pitch``: bytes from pixel to pixel; ``run``: bytes of one pixel that
    a row takes, ``padded_run``: the same filled up to a whole number of steps; ``group``: bytes from group to
    group; ``flip``: exclusive-or of every byte (128 makes signed codes unsigned); ``fill``: byte of the
    padding, flipped.
    """

    height: int
    width: int
    kernel_height: int
    kernel_width: int
    stride: int
    top: int
    left: int
    out_height: int
    pitch: int
    run: int
    padded_run: int
    group: int
    flip: int
    fill: int


@helper
def _locate(start, rows, columns, first, places):
    """Fill ``places [rows, 3]``: byte of the row's image, top and left of its window."""
    pixels = rows.out_height * columns.shape[0]
    image_bytes = rows.height * rows.width * rows.pitch
    for r in range(places.shape[0]):
        image, pixel = (first + r) // pixels, (first + r) % pixels
        places[r, 0] = start + image * image_bytes
        places[r, 1] = pixel // columns.shape[0] * rows.stride - rows.top
        places[r, 2] = columns[pixel % columns.shape[0]] - rows.left


@helper
def _gather(x, rows, places, piece, taken, block):
    """Copy bytes ``piece ... piece + taken`` of every row into ``block``, tap by tap.

    What fills a tap up to whole steps stays as it is: the panels hold zeros there.
    """
    flip, fill = np.uint8(rows.flip), np.uint8(rows.fill)
    done = 0
    while done < taken:
        tap, offset = (piece + done) // rows.padded_run, (piece + done) % rows.padded_run
        length = min(rows.padded_run - offset, taken - done)
        real = max(0, min(length, rows.run - offset))
        down, right = tap // rows.kernel_width, tap % rows.kernel_width
        for r in range(places.shape[0]):
            y, x_position = places[r, 1] + down, places[r, 2] + right
            if 0 <= y < rows.height and 0 <= x_position < rows.width:
                source = places[r, 0] + (y * rows.width + x_position) * rows.pitch + offset
                copy_run(x, source, real, flip, block, r * ROW_BYTES + done)
            else:
                block[r, done : done + length] = fill
        done += length


@helper
def _add_piece(
    x, rows, places, piece, taken, form, panels, storage, panel_bytes, left, right, block, buffers, sums
):
    """Add ``taken`` bytes of every row from ``piece`` on, times columns ``left ... right``, to ``sums``."""
    _gather(x, rows, places, piece, taken, block)
    # Bytes of a stored panel per byte of a row.
    ratio = 16 if storage == NIBBLES else 32
    if form != EIGHT and storage != WORDS:
        ratio //= 2
    direct = storage == WORDS or (form == EIGHT and storage == BYTES)
    for column in range(left, right, COLUMNS):
        source = column // COLUMNS * panel_bytes + piece * ratio
        if storage == NIBBLES and form == EIGHT:
            unpack_nibbles(panels, source, taken // 4, buffers[0])
        elif storage == NIBBLES:
            unpack_nibbles(panels, source, taken // 8, buffers[1])
            widen(buffers[1], 0, taken // 8, buffers[0])
        elif not direct:
            widen(panels, source, taken // 8, buffers[0])
        for row in range(0, places.shape[0], ROWS):
            if direct:
                add_tile(form, block, row, panels, source, taken // 4, sums, column - left)
            else:
                add_tile(form, block, row, buffers[0], 0, taken // 4, sums, column - left)


@helper
def _blocks(group_rows, outputs, groups, threads):
    """Return the rows and the columns of a block: few enough for the cache, enough blocks for the threads."""
    row_blocks = (group_rows + BLOCK_ROWS - 1) // BLOCK_ROWS
    if row_blocks * groups > 1:
        row_blocks += row_blocks * groups % 2
    height = ((group_rows + row_blocks - 1) // row_blocks + ROWS - 1) // ROWS * ROWS
    wanted = max(1, 2 * threads // (row_blocks * groups))
    width = ((outputs + wanted - 1) // wanted + COLUMNS - 1) // COLUMNS * COLUMNS
    return height, min(width, BLOCK_COLUMNS)


@kernel
def multiply_sums(x, rows, columns, form, panels, storage, corrections, threads, piece_bytes, sums):
    """Write exact sums.

    Parameters
    ----------
    x
        Activation codes as bytes, uint8 ``[bytes]``, channels last.
    rows, columns
        Where its rows lie; ``columns`` int64 ``[output columns]``.
    form, storage
        Form of the tile, storage of the panels.
    panels
        Packed weights uint8 ``[groups or 1, bytes]``.
    corrections
        What the flip added, int32 ``[groups or 1, outputs]``, subtracted from every sum; here it must fit 32
        bits, in :func:`multiply_codes` it counts modulo 2**32.
    threads
        How many threads there are: decides the size of blocks, not the result.
    piece_bytes
        Bytes of a row whose products surely fit 32 bits, a multiple of 8, at most ``CHUNK_BYTES``.
    sums
        Result int64 ``[groups, rows, outputs]``.
    """
    groups, group_rows, outputs = sums.shape
    height, width = _blocks(group_rows, outputs, groups, threads)
    row_blocks = (group_rows + height - 1) // height
    column_blocks = (outputs + width - 1) // width
    panel_bytes = panels.shape[1] // ((outputs + COLUMNS - 1) // COLUMNS)
    reduction = rows.kernel_height * rows.kernel_width * rows.padded_run
    units = groups * row_blocks * column_blocks
    for worker in prange(min(threads, units)):
        places = np.empty((height, 3), np.int64)
        block = np.empty((height, ROW_BYTES), np.uint8)
        buffers = np.empty((2, CHUNK_BYTES // 4 * STEP_BYTES), np.uint8)
        part = np.empty((height, width), np.int32)
        for unit in range(worker, units, threads):
            group = unit // (row_blocks * column_blocks)
            first = unit // column_blocks % row_blocks * height
            left = unit % column_blocks * width
            count, right = min(height, group_rows - first), min(left + width, outputs)
            own = group if panels.shape[0] > 1 else 0
            _locate(group * rows.group, rows, columns, first, places[:count])
            for i in range(count):
                for j in range(right - left):
                    sums[group, first + i, left + j] = -np.int64(corrections[own, left + j])
            for piece in range(0, reduction, piece_bytes):
                part[:] = 0
                _add_piece(
                    x,
                    rows,
                    places[:count],
                    piece,
                    min(piece_bytes, reduction - piece),
                    form,
                    panels[own],
                    storage,
                    panel_bytes,
                    left,
                    right,
                    block,
                    buffers,
                    part,
                )
                for i in range(count):
                    for j in range(right - left):
                        sums[group, first + i, left + j] += part[i, j]


@kernel
def multiply_codes(
    x,
    rows,
    columns,
    form,
    panels,
    storage,
    corrections,
    threads,
    halves,
    half_of,
    factor,
    addend,
    shift,
    low,
    high,
    codes,
):
    """Write rescaled codes and return ``[blocks, 3]``: saturated codes, smallest and largest sum of each.

    The first eight arguments are those of :func:`multiply_sums`; every sum must fit 32 bits. Then

    halves, half_of
        Int32 ``[groups, rows of halves, outputs]`` and int64 ``[output columns]``: where the rows were
        halved, the sum is ``2 * sum + halves[column half_of[x] of the same pixel row]``; ``[0, 0, 0]`` where
        not.
    factor, addend, shift
        Per output: ``code = clamp((sum * factor + addend) >> shift, low, high)``, int32, int64, int64; the
        addend holds bias and rounding.
    codes
        Result int16 ``[groups, rows, outputs]``.
    """
    groups, group_rows, outputs = codes.shape
    height, width = _blocks(group_rows, outputs, groups, threads)
    row_blocks = (group_rows + height - 1) // height
    column_blocks = (outputs + width - 1) // width
    panel_bytes = panels.shape[1] // ((outputs + COLUMNS - 1) // COLUMNS)
    reduction = rows.kernel_height * rows.kernel_width * rows.padded_run
    kinds = halves.shape[1] // max(1, group_rows // columns.shape[0])
    units = groups * row_blocks * column_blocks
    observed = np.empty((units, 3), np.int64)
    for worker in prange(min(threads, units)):
        places = np.empty((height, 3), np.int64)
        block = np.empty((height, ROW_BYTES), np.uint8)
        buffers = np.empty((2, CHUNK_BYTES // 4 * STEP_BYTES), np.uint8)
        part = np.empty((height, width), np.int32)
        seen = np.empty(3, np.int64)
        nothing = np.empty(0, np.int32)
        for unit in range(worker, units, threads):
            group = unit // (row_blocks * column_blocks)
            first = unit // column_blocks % row_blocks * height
            left = unit % column_blocks * width
            count, right = min(height, group_rows - first), min(left + width, outputs)
            own = group if panels.shape[0] > 1 else 0
            _locate(group * rows.group, rows, columns, first, places[:count])
            part[:] = 0
            for piece in range(0, reduction, CHUNK_BYTES):
                _add_piece(
                    x,
                    rows,
                    places[:count],
                    piece,
                    min(CHUNK_BYTES, reduction - piece),
                    form,
                    panels[own],
                    storage,
                    panel_bytes,
                    left,
                    right,
                    block,
                    buffers,
                    part,
                )
            clipped, smallest, largest = np.int64(0), np.int64(2**31), np.int64(-(2**31))
            for i in range(count):
                row = first + i
                other = nothing
                if kinds > 0:
                    half_row = row // columns.shape[0] * kinds + half_of[row % columns.shape[0]]
                    other = halves[group, half_row, left:right]
                rescale_row(
                    part[i],
                    corrections[own, left:right],
                    other,
                    factor[left:right],
                    addend[left:right],
                    shift[left:right],
                    low,
                    high,
                    codes[group, row, left:right],
                    seen,
                )
                clipped += seen[0]
                smallest, largest = min(smallest, seen[1]), max(largest, seen[2])
            observed[unit, 0], observed[unit, 1], observed[unit, 2] = clipped, smallest, largest
    return observed
