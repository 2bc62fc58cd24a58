"""Where the rows of a product lie in the memory of an activation, and how they are gathered from there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hqsim.kernels.jit import helper
from hqsim.kernels.vector import copy_runs


class Rows(NamedTuple):
    """Where the rows of a product lie, all in bytes or pixels of the activation's memory.

    Kernels take it as int64 ``[14]``, in this order. The taps of a window follow each other down its columns.

    ``height``, ``width``: pixels of the input; ``kernel_height``, ``kernel_width``, ``stride``, ``top``,
    ``left``: the window; ``out_height``: lines of the output, whose columns have an array of their own
    (input column of each, padding not subtracted); ``pitch``: bytes from pixel to pixel; ``run``: bytes of
    one pixel that a row takes; ``padded_run``: the same filled up to a whole number of steps; ``group``:
    bytes from group to group; ``skip``: bytes of a row that every further group passes over in shared panels;
    ``flip``: exclusive-or of every byte (128 makes signed codes unsigned).
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
    skip: int
    flip: int


@helper
def rows_of(layout):
    """Return the fields by their names."""
    a = layout
    return Rows(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13])


@helper
def locate(start, rows, columns, first, places):
    """Fill ``places [rows, 3]``: byte of the row's image, top and left of its window."""
    pixels = rows.out_height * columns.shape[0]
    image_bytes = rows.height * rows.width * rows.pitch
    for r in range(places.shape[0]):
        image, pixel = (first + r) // pixels, (first + r) % pixels
        places[r, 0] = start + image * image_bytes
        places[r, 1] = pixel // columns.shape[0] * rows.stride - rows.top
        places[r, 2] = columns[pixel % columns.shape[0]] - rows.left


@helper
def gather(x, rows, fill, places, piece, taken, sources, block):
    """Copy bytes ``piece ... piece + taken`` of every row into ``block``, tap by tap; padding is ``fill``.

    What fills a tap up to whole steps stays as it is: the panels hold zeros there.
    """
    done = 0
    while done < taken:
        tap, offset = (piece + done) // rows.padded_run, (piece + done) % rows.padded_run
        length = min(rows.padded_run - offset, taken - done)
        real = max(0, min(length, rows.run - offset))
        down, right = tap % rows.kernel_height, tap // rows.kernel_height
        for r in range(places.shape[0]):
            y, x_position = places[r, 1] + down, places[r, 2] + right
            pixel = y * rows.width + x_position
            inside = (y >= 0) & (y < rows.height) & (x_position >= 0) & (x_position < rows.width)
            sources[r] = places[r, 0] + pixel * rows.pitch + offset if inside else -1
        copy_runs(x, sources, places.shape[0], real, np.uint8(rows.flip), np.uint8(fill & 255), block, done)
        done += length
