"""Where the rows of a layer lie in memory: what its calls with images of one shape have in common."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hqsim.numerics import Transform

if TYPE_CHECKING:
    from hqsim.kernels.rows import Rows

SHIFT = 128
"""What makes signed 8-bit codes unsigned."""


class Window(NamedTuple):
    """Kernel size, stride, padding (top, left), output size of a convolution; 1 x 1 for a linear layer."""

    kernel: tuple[int, int]
    stride: int
    padding: tuple[int, int]
    output: tuple[int, int]


class ParityCall(NamedTuple):
    """The parity term of a convolution halved along the width: one product of all tap columns, then sums.

    ``bits`` is the shape of the parities ``[outer, blocks, inner]``; ``layout`` and ``columns`` say where its
    rows lie; ``lines``: those of the output; ``blocks`` int64 ``[tap columns, kinds]``: the block of a line
    that a tap column meets in windows of each kind (-1: none); ``half_of``: the kind of each output column.
    """

    bits: tuple[int, int, int]
    layout: np.ndarray
    columns: np.ndarray
    lines: int
    blocks: np.ndarray
    half_of: np.ndarray


class LayerCall(NamedTuple):
    """What calls of a layer have in common for images of one shape.

    ``along``: the images as the inverse transform sees them, ``[outer, length, inner]``; ``rows``: shape of
    what is multiplied; ``layout`` and ``columns``: where its rows lie; ``size``: output pixels (h, w).
    """

    along: tuple[int, int, int]
    rows: tuple[int, int, int, int]
    layout: np.ndarray
    columns: np.ndarray
    size: tuple[int, int]
    parity: ParityCall | None


def layer_call(
    images: np.ndarray, window: Window, inverse: Transform | None, *, eight: bool, halved: bool
) -> LayerCall:
    """Lay a layer out for images ``[b, h, w, c]`` of this shape and type."""
    batch, height, width, channels = images.shape
    rows, along, parity = images.shape, (0, 0, 0), None
    itemsize, flip = (1, SHIFT) if eight else (2, 0)
    if inverse is None:
        flip = flip if images.dtype == np.int8 else 0
    elif inverse.axis == "width":
        along = (batch * height, width, channels)
        parity = _parity_call(images.shape, inverse.size, window) if halved else None
    else:
        along = (batch * height * width, channels, 1)
        if halved:
            rows = (batch, height, width, channels + 2 * (channels // inverse.size))
    layout, columns = row_layout(rows[1:], itemsize, window, flip=flip)
    return LayerCall(along, rows, layout, columns, window.output, parity)


def _parity_call(shape: tuple[int, ...], size: int, window: Window) -> ParityCall:
    """Lay the parity term out: a pixel for every block of ``size``, a group for every tap column."""
    batch, height, width, channels = shape
    blocks, (kernel_height, _) = width // size, window.kernel
    kinds, half_of = distinct_windows(window, blocks, size)
    one = Window((kernel_height, 1), window.stride, (window.padding[0], 0), (window.output[0], blocks))
    rows = _rows((height, blocks, channels), 1, one)
    # All groups read the same rows; each meets the next tap column of the panels.
    layout = np.array(rows._replace(group=0, skip=kernel_height * rows.padded_run))
    lines = batch * window.output[0]
    return ParityCall((batch * height, blocks, channels), layout, np.arange(blocks), lines, kinds, half_of)


@lru_cache(maxsize=256)
def distinct_windows(window: Window, blocks: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the kinds of windows along a line, by the blocks of ``size`` pixels that their columns meet.

    The block of every tap column, int64 ``[tap columns, kinds]`` (-1: padding), and the kind of each output
    column: a window meets few different pieces.
    """
    taps = np.arange(window.output[1])[:, None] * window.stride - window.padding[1]
    taps = taps + np.arange(window.kernel[1])
    inside = (taps >= 0) & (taps < blocks * size)
    kinds, half_of = np.unique(np.where(inside, taps // size, -1), axis=0, return_inverse=True)
    return np.ascontiguousarray(kinds.T), half_of.reshape(-1).astype(np.int64)


@lru_cache(maxsize=1024)
def row_layout(
    shape: tuple[int, int, int], itemsize: int, window: Window, *, flip: int = 0, groups: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Where rows of ``[h, w, c]`` elements of ``itemsize`` bytes lie; which input column each output has."""
    rows = _rows(shape, itemsize, window, groups)._replace(flip=flip)
    return np.array(rows), np.arange(window.output[1]) * window.stride


@lru_cache(maxsize=1024)
def pair_layout(
    m: int, k: int, group: int, pitch: int, itemsize: int, flip: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where ``m`` rows of ``k`` elements of ``itemsize`` bytes lie; ``group``, ``pitch`` in elements."""
    rows = _rows((m, 1, k), itemsize, Window((1, 1), 1, (0, 0), (m, 1)))
    rows = rows._replace(group=group * itemsize, pitch=pitch * itemsize, flip=flip)
    return np.array(rows), np.zeros(1, np.int64)


def _rows(shape: tuple[int, int, int], itemsize: int, window: Window, groups: int = 1) -> Rows:
    from hqsim.kernels.panels import padded_channels
    from hqsim.kernels.rows import Rows

    height, width, channels = shape
    per_group = channels // groups
    return Rows(
        height=height,
        width=width,
        kernel_height=window.kernel[0],
        kernel_width=window.kernel[1],
        stride=window.stride,
        top=window.padding[0],
        left=window.padding[1],
        out_height=window.output[0],
        pitch=channels * itemsize,
        run=per_group * itemsize,
        padded_run=padded_channels(per_group) * itemsize,
        group=per_group * itemsize,
        skip=0,
        flip=0,
    )
