"""Every matrix product of codes: convolution, linear layer and attention product in one blocked kernel.

A product has ``groups`` independent parts (samples and heads of attention, groups of a convolution; one for a
linear layer). Its rows are output pixels or tokens, gathered from channels-last bytes a block at a time: an
implicit GEMM that never holds an im2col of the activation. Its columns are output channels, in panels of 32
that stay packed and are unpacked into a first-cache buffer. Threads take disjoint blocks of the result;
integer sums do not depend on it.

``multiply_sums`` gives the exact sums, ``multiply_codes`` goes on to rescaled codes while a block is in the
cache.
"""

from __future__ import annotations

import numpy as np

from hqsim.kernels.halves import add_rows
from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.rescale_block import reach_of, rescale_block
from hqsim.kernels.rows import gather, locate, rows_of
from hqsim.kernels.scratch import from_line, scratch
from hqsim.kernels.threads import part_of, share, team_size
from hqsim.kernels.tile import CHUNK_BYTES, COLUMNS, EIGHT, ROW_BYTES, ROWS, STEP_BYTES, add_tile
from hqsim.kernels.vector import unpack_nibbles, widen

BLOCK_TILES = 16
"""Most tiles of rows that share one unpacking of a panel."""
BLOCK_COLUMNS = 512
"""Most columns whose sums wait for the next piece of the rows (they stay in the second cache)."""
SHORT_COLUMNS = 64
"""Columns finished at a time when the rows are a single piece (their sums stay in the first cache)."""
NIBBLES, BYTES, WORDS = 0, 1, 2
"""How a panel is stored: 4 bits, 8 bits, or 16 bits a weight."""


@helper
def _add_columns(
    block, count, piece, taken, form, panels, storage, panel_bytes, left, right, buffers, fresh, start, sums
):
    """Add the gathered piece of ``count`` rows, times columns ``left ... right``, to ``sums``."""
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
        panel, first = (panels, source) if direct else (buffers[0], 0)
        for row in range(0, count, ROWS):
            add_tile(
                form, block, row, count - row, panel, first, taken // 4, fresh, start, sums, column - left
            )


@helper
def _blocks(group_rows, outputs, groups, threads, short):
    """Return how many blocks of rows and of columns: small enough for the cache, enough for the threads."""
    row_blocks = ((group_rows + ROWS - 1) // ROWS + BLOCK_TILES - 1) // BLOCK_TILES
    if row_blocks * groups > 1:
        row_blocks += row_blocks * groups % 2
    panels = (outputs + COLUMNS - 1) // COLUMNS
    column_blocks = min(panels, max(1, threads // (row_blocks * groups)))
    if not short:
        column_blocks = max(column_blocks, (outputs + BLOCK_COLUMNS - 1) // BLOCK_COLUMNS)
    return row_blocks, column_blocks


@helper
def _edge(index, blocks, size, unit):
    """Return where block ``index`` of ``blocks`` starts in ``size``, a multiple of ``unit``."""
    return min(size, (size + unit - 1) // unit * index // blocks * unit)


@helper
def _block_of(unit, row_blocks, column_blocks, group_rows, outputs):
    """Return group, first row, rows, first and last column of a block."""
    group = unit // (row_blocks * column_blocks)
    row_block, column_block = unit // column_blocks % row_blocks, unit % column_blocks
    first = _edge(row_block, row_blocks, group_rows, ROWS)
    count = _edge(row_block + 1, row_blocks, group_rows, ROWS) - first
    left = _edge(column_block, column_blocks, outputs, COLUMNS)
    return group, first, count, left, _edge(column_block + 1, column_blocks, outputs, COLUMNS)


@helper
def _sums_of_block(columns):
    """Return room for the sums of a block, int32 ``[rows, columns]``.

    Rows lie two cache lines further apart than they must: so they do not fall into the same cache sets.
    """
    return from_line(np.empty((BLOCK_TILES * ROWS, columns + 32), np.int32), columns)


@helper
def _sum_blocks(
    worker, threads, x, rows, columns, form, panels, storage, weight_sums, offset, piece_bytes, blocks, sums
):
    """Sum every block of one thread."""
    groups, group_rows, outputs = sums.shape
    row_blocks, column_blocks = blocks
    reduction = rows.kernel_height * rows.kernel_width * rows.padded_run
    panel_bytes = panels.shape[1] // ((outputs + COLUMNS - 1) // COLUMNS)
    places = np.empty((BLOCK_TILES * ROWS, 3), np.int64)
    block = from_line(np.empty((BLOCK_TILES * ROWS, ROW_BYTES), np.uint8), CHUNK_BYTES)
    buffers = scratch(CHUNK_BYTES // 4 * STEP_BYTES), scratch(CHUNK_BYTES // 4 * STEP_BYTES)
    part = _sums_of_block(BLOCK_COLUMNS)
    sources, start = np.empty(BLOCK_TILES * ROWS, np.int64), np.zeros(BLOCK_COLUMNS, np.int32)
    begin_unit, end_unit = part_of(worker, threads, groups * row_blocks * column_blocks)
    for unit in range(begin_unit, end_unit):
        group, first, count, left, right = _block_of(unit, row_blocks, column_blocks, group_rows, outputs)
        own = group if panels.shape[0] > 1 else 0
        locate(group * rows.group, rows, columns, first, places[:count])
        for i in range(count):
            for j in range(left, right):
                sums[group, first + i, j] = np.int32(-(np.int64(weight_sums[own, j]) * offset))
        for piece in range(0, reduction, piece_bytes):
            taken = min(piece_bytes, reduction - piece)
            gather(x, rows, offset, places[:count], piece, taken, sources, block)
            _add_columns(
                block,
                count,
                group * rows.skip + piece,
                taken,
                form,
                panels[own],
                storage,
                panel_bytes,
                left,
                right,
                buffers,
                True,
                start,
                part,
            )
            for i in range(count):
                for j in range(right - left):
                    sums[group, first + i, left + j] += part[i, j]


@kernel
def multiply_sums(x, layout, columns, form, panels, storage, weight_sums, offset, threads, piece_bytes, sums):
    """Write exact sums.

    Parameters
    ----------
    x
        Activation codes as bytes, uint8 ``[bytes]``, channels last.
    layout, columns
        Where its rows lie: the fields of :class:`Rows`, int64; ``columns`` int64 ``[output columns]``.
    form, storage
        Form of the tile, storage of the panels.
    panels
        Packed weights uint8 ``[groups or 1, bytes]``.
    weight_sums, offset
        ``offset`` times int32 ``weight_sums [groups or 1, outputs]`` is subtracted from every sum, modulo
        2**32: what the flip added, and the zero-point. It is the padding, too.
    threads
        How many threads there are (0: as many as may be used): decides the size of blocks, not the result.
    piece_bytes
        Bytes of a row whose products surely fit 32 bits, a multiple of 8, at most ``CHUNK_BYTES``.
    sums
        Result int64 ``[groups, rows, outputs]``.
    """
    threads = threads if threads > 0 else team_size()
    blocks = _blocks(sums.shape[1], sums.shape[2], sums.shape[0], threads, False)
    arguments = (
        x,
        rows_of(layout),
        columns,
        form,
        panels,
        storage,
        weight_sums,
        offset,
        piece_bytes,
        blocks,
        sums,
    )
    share(_sum_blocks, threads, arguments)


@helper
def _copy_row(row, sums):
    for j in range(sums.shape[0]):
        sums[j] = row[j]


@helper
def _code_blocks(
    worker,
    threads,
    x,
    rows,
    columns,
    form,
    panels,
    storage,
    weight_sums,
    offset,
    blocks,
    halves,
    half_of,
    factor,
    addend,
    shift,
    reach,
    low,
    high,
    codes,
    sums,
    observed,
):
    """Sum and rescale every block of one thread."""
    groups, group_rows, outputs = codes.shape[0], max(codes.shape[1], sums.shape[1]), factor.shape[0]
    row_blocks, column_blocks = blocks
    reduction = rows.kernel_height * rows.kernel_width * rows.padded_run
    short = reduction <= CHUNK_BYTES
    panel_bytes = panels.shape[1] // ((outputs + COLUMNS - 1) // COLUMNS)
    kinds = halves.shape[1] // max(1, group_rows // columns.shape[0])
    observed = observed[worker]
    observed[0], observed[1], observed[2] = 0, 2**31, -(2**31)
    places = np.empty((BLOCK_TILES * ROWS, 3), np.int64)
    half_rows = np.empty(BLOCK_TILES * ROWS, np.int64)
    sources = np.empty(BLOCK_TILES * ROWS, np.int64)
    block = from_line(np.empty((BLOCK_TILES * ROWS, ROW_BYTES), np.uint8), CHUNK_BYTES)
    buffers = scratch(CHUNK_BYTES // 4 * STEP_BYTES), scratch(CHUNK_BYTES // 4 * STEP_BYTES)
    wide = SHORT_COLUMNS if short else BLOCK_COLUMNS
    part, start = _sums_of_block(wide), np.zeros(wide, np.int32)
    begin_unit, end_unit = part_of(worker, threads, groups * row_blocks * column_blocks)
    for unit in range(begin_unit, end_unit):
        group, first, count, begin, end = _block_of(unit, row_blocks, column_blocks, group_rows, outputs)
        own = group if panels.shape[0] > 1 else 0
        locate(group * rows.group, rows, columns, first, places[:count])
        if kinds > 0:
            for i in range(count):
                line, column = (first + i) // columns.shape[0], (first + i) % columns.shape[0]
                half_rows[i] = line * kinds + half_of[column]
        for left in range(begin, end, wide):
            right = min(left + wide, end)
            for j in range(left, right):
                start[j - left] = np.int32(-(np.int64(weight_sums[own, j]) * offset))
            if kinds > 0:
                for i in range(count):
                    half = halves[group, half_rows[i], left:right]
                    add_rows(start[: right - left], half, part[i, : right - left])
            for piece in range(0, reduction, CHUNK_BYTES):
                taken = min(CHUNK_BYTES, reduction - piece)
                if not short or left == begin:
                    gather(x, rows, offset, places[:count], piece, taken, sources, block)
                _add_columns(
                    block,
                    count,
                    group * rows.skip + piece,
                    taken,
                    form,
                    panels[own],
                    storage,
                    panel_bytes,
                    left,
                    right,
                    buffers,
                    piece == 0 and kinds == 0,
                    start,
                    part,
                )
            if sums.shape[1] > 0:
                for i in range(count):
                    _copy_row(part[i], sums[group, first + i, left:right])
                continue
            rescale_block(
                part,
                count,
                factor[left:right],
                addend[left:right],
                shift[left:right],
                reach,
                low,
                high,
                codes[group, first : first + count, left:right],
                observed,
            )


@helper
def _addends(bias, bias_bits, shift):
    """Return bias and rounding of every output, in units of the product."""
    addend = np.empty(bias.shape[0], np.int64)
    for j in range(bias.shape[0]):
        addend[j] = (bias[j] << (shift[j] - bias_bits)) + ((np.int64(1) << shift[j]) >> 1)
    return addend


@kernel
def multiply_codes(
    x,
    layout,
    columns,
    form,
    panels,
    storage,
    weight_sums,
    offset,
    threads,
    halves,
    half_of,
    factor,
    bias,
    bias_bits,
    shift,
    low,
    high,
    codes,
    sums,
):
    """Write rescaled codes; return how many saturated, the smallest and the largest sum.

    The first nine arguments are those of :func:`multiply_sums`; every sum must fit 32 bits. Then

    halves, half_of
        Int32 ``[groups, rows of halves, outputs]`` and int64 ``[output columns]``: where the rows were
        halved, ``halves[column half_of[x] of the same pixel row]`` is added to the sum; ``[0, 0, 0]`` where
        not.
    factor, bias, bias_bits, shift
        Per output, int32 and int64: ``code = clamp(round_half_up((sum * factor + bias * 2**(shift -
        bias_bits)) / 2**shift), low, high)``.
    codes, sums
        Result int16 ``[groups, rows, outputs]``, or the sums themselves, int32, and nothing is observed; the
        other one is ``[groups, 0, 0]``.
    """
    rows, group_rows = rows_of(layout), max(codes.shape[1], sums.shape[1])
    threads = threads if threads > 0 else team_size()
    short = rows.kernel_height * rows.kernel_width * rows.padded_run <= CHUNK_BYTES
    blocks = _blocks(group_rows, factor.shape[0], codes.shape[0], threads, short)
    addend, observed = _addends(bias, bias_bits, shift), np.empty((threads, 3), np.int64)
    reach = reach_of(factor, addend, shift, low, high) if sums.shape[1] == 0 else np.int64(0)
    arguments = (
        x,
        rows,
        columns,
        form,
        panels,
        storage,
        weight_sums,
        offset,
        blocks,
        halves,
        half_of,
        factor,
        addend,
        shift,
        reach,
        low,
        high,
        codes,
        sums,
        observed,
    )
    share(_code_blocks, threads, arguments)
    saturated, lowest, highest = observed[0]
    for thread in range(1, threads):
        saturated += observed[thread, 0]
        lowest, highest = min(lowest, observed[thread, 1]), max(highest, observed[thread, 2])
    return saturated, lowest, highest
