"""The ways to cut one dimension of a matrix product into nearly equal pieces, one inside the other.

A dimension is cut into ``p``, ``2 p``, ``4 p``, ... pieces of the ``p`` that an outer memory has cut it
into, the last way being single elements: piece ``i`` of ``p`` is ``floor(i D / p)`` to
``floor((i + 1) D / p)``, so pieces lie inside the outer ones and none is longer than ``ceil(D / p)``.
The pixels of a convolution are cut image by image, then by rows, then within a row; its ``k``
by channels. Neighbouring pieces of pixels read overlapping windows of the input.

A limit that is the size of one of these ways asks for that way, so that a tile that was chosen can be given
back; any other limit asks for the fewest pieces that are no longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from hqsim.graph.record import ConvWork


@dataclass(frozen=True, eq=False)
class Cuts:
    """The ways to cut, coarsest first: a column each of ``table``, float64 ``[4, ways]``.

    ``parts`` is the number of pieces and ``sizes`` the length of the largest one. ``reads`` counts the
    input positions that all pieces read together, ``footprint`` those that the largest one reads: the
    same as the elements, except for the pixels (and channels) of a convolution.
    """

    table: np.ndarray

    @property
    def parts(self) -> np.ndarray:
        """Number of pieces, ``[ways]``."""
        row: np.ndarray = self.table[0]
        return row

    @property
    def sizes(self) -> np.ndarray:
        """Length of the largest piece, ``[ways]``."""
        row: np.ndarray = self.table[1]
        return row

    @property
    def reads(self) -> np.ndarray:
        """Input positions that all pieces read together, ``[ways]``."""
        row: np.ndarray = self.table[2]
        return row

    @property
    def footprint(self) -> np.ndarray:
        """Input positions that the largest piece reads, ``[ways]``."""
        row: np.ndarray = self.table[3]
        return row

    def inside(self, outer: int) -> Cuts | None:
        """Return the ways inside ``outer`` pieces, None where that is not one of these ways."""
        first = int(self.parts.searchsorted(outer))
        return Cuts(self.table[:, first:]) if self.parts[first] == outer else None

    def of_size(self, size: int) -> Cuts | None:
        """Return the one way whose largest piece has ``size``, None where none has."""
        (ways,) = np.nonzero(self.sizes == size)
        return Cuts(self.table[:, ways]) if len(ways) else None


def _ways(length: int, outer: int, limit: int | None) -> list[int]:
    """Return numbers of pieces, multiples of ``outer``; with a ``limit`` the fewest that are no longer."""
    if limit is not None:
        piece = -(-length // outer)
        return [min(length, outer * -(-piece // limit))]
    ways = [outer]
    while ways[-1] < length:
        ways.append(min(length, 2 * ways[-1]))
    return ways


@lru_cache(maxsize=8192)
def plain_cuts(length: int, outer: int, limit: int | None = None) -> Cuts:
    """Cut a dimension whose elements are the input's own; pieces of at most ``limit``, if given."""
    if limit is not None and (chosen := plain_cuts(length, outer).of_size(limit)):
        return chosen
    if outer > 1 and limit is None and (known := plain_cuts(length, 1).inside(outer)):
        return known
    parts = np.array(_ways(length, outer, limit), np.float64)
    sizes = np.ceil(length / parts)
    return Cuts(np.stack([parts, sizes, np.full(len(parts), float(length)), sizes]))


@lru_cache(maxsize=8192)
def channel_cuts(conv: ConvWork, outer: int, limit: int | None = None) -> Cuts:
    """Cut the ``k`` of a convolution's group by channels: the smallest piece is a window of one channel."""
    window, channels = conv.kernel_h * conv.kernel_w, conv.in_channels // conv.groups
    cuts = plain_cuts(channels, outer, None if limit is None else max(1, limit // window))
    return Cuts(np.stack([cuts.parts, cuts.sizes * window, cuts.reads, cuts.footprint]))


@lru_cache(maxsize=8192)
def pixel_cuts(conv: ConvWork, outer: int, limit: int | None = None) -> Cuts:
    """Cut the output pixels of a convolution; positions are pixels of its input."""
    if limit is not None and (chosen := pixel_cuts(conv, outer).of_size(limit)):
        return chosen
    if outer > 1 and limit is None and (known := pixel_cuts(conv, 1).inside(outer)):
        return known
    batch, height, width = conv.batch, conv.out_h, conv.out_w
    images = min(outer, batch)
    rows = min(outer // images, height)
    columns = outer // (images * rows)
    if limit is None:
        ways = [(count, rows, columns) for count in _ways(batch, images, None)]
        ways += [(batch, count, columns) for count in _ways(height, rows, None)[1:]]
        ways += [(batch, height, count) for count in _ways(width, columns, None)[1:]]
    elif limit >= height * width:
        ways = [(_ways(batch, images, limit // (height * width))[0], rows, columns)]
    elif limit >= width:
        ways = [(batch, _ways(height, rows, limit // width)[0], columns)]
    else:
        ways = [(batch, height, _ways(width, columns, limit)[0])]
    parts, sizes, reads, footprint = [], [], [], []
    for images, rows, columns in ways:
        rows_read, rows_held = windows(conv.in_h, height, conv.kernel_h, conv.stride_h, rows)
        columns_read, columns_held = windows(conv.in_w, width, conv.kernel_w, conv.stride_w, columns)
        together = -(-batch // images)
        parts.append(images * rows * columns)
        sizes.append(together * -(-height // rows) * -(-width // columns))
        reads.append(batch * rows_read * columns_read)
        footprint.append(together * rows_held * columns_held)
    return Cuts(np.array([parts, sizes, reads, footprint], np.float64))


@lru_cache(maxsize=8192)
def windows(in_size: int, out_size: int, kernel: int, stride: int, parts: int) -> tuple[int, int]:
    """Return the input rows that ``parts`` pieces of the output rows read: all together, and the largest.

    Padding is not read; half of it (rounded down) stands before the first row. All pieces together
    read no less than the input, which crosses as a whole.
    """
    before = max(0, (out_size - 1) * stride + kernel - in_size) // 2
    edges = [part * out_size // parts * stride - before for part in range(parts + 1)]
    lengths = [max(0, min(end - stride + kernel, in_size) - max(start, 0)) for start, end in pairwise(edges)]
    return max(in_size, sum(lengths)), max(lengths)
