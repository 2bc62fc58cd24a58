"""All tiles of a matrix product that one stage of memories can hold, and what they make cross.

With ``P`` pieces per dimension in the stage and ``Q`` in the one around it (1 around the outermost), the
loops over the tiles run in a given order, and the innermost one that runs at all spares the operand
that it does not change. In all,

    first operand    crosses  Pn times, if n is innermost Qn times   (and its overlapping windows again)
    second operand   crosses  Pm times, if m is innermost Qm times
    partial sums     visit    Pk times, if k is innermost Qk times; all visits but the last leave again
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from hqsim.cost.cuts import Cuts, channel_cuts, pixel_cuts, plain_cuts
from hqsim.cost.mapping import LevelTile
from hqsim.errors import UnsupportedError
from hqsim.graph.record import ConvWork

#: An order of the loops for each innermost one; where all loops run, the outer two make no difference.
ORDERS = ("mnk", "mkn", "nkm")

Pieces = tuple[int, int, int]
AllCuts = tuple[Cuts, Cuts, Cuts]
Times = tuple[Any, Any, Any]
"""How often the first operand, the second one and the sums cross (sums: visits)."""


class NoTileError(UnsupportedError):
    """No tile of a product fits the memory ``level``."""

    def __init__(self, level: str, text: str) -> None:
        super().__init__(text)
        self.level = level


@dataclass(frozen=True, kw_only=True)
class TileProblem:
    """Equal products ``[m, k] x [k, n]``; ``conv`` is the convolution behind them, if there is one."""

    m: int
    n: int
    k: int
    conv: ConvWork | None = None

    @property
    def a_positions(self) -> int:
        """What `Cuts.reads` of ``m`` counts when nothing is read twice."""
        return self.conv.batch * self.conv.in_h * self.conv.in_w if self.conv else self.m


class Room(NamedTuple):
    """What a tile may take of one memory, and the bits that an element of each operand takes there.

    Operands are ``a``, ``w`` and ``s``, the partial sums.
    """

    level: str
    capacity_bits: float
    element_bits: tuple[tuple[str, float], ...]


class Link(NamedTuple):
    """The way of an operand into memory number ``target`` from ``source``.

    ``size_bytes`` cross when it crosses once; sums take the way in both directions.
    """

    operand: str
    target: int
    source: int
    size_bytes: float


class Stage(NamedTuple):
    """Memories with one tile, and the links of the operands that are cut into tiles there."""

    rooms: tuple[Room, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Grid:
    """The tiles of a stage that fit, ``[tiles]`` each: their largest sizes, pieces, and input positions read.

    For every way to cut m and n they have the coarsest one of k that fits: more pieces of k are smaller,
    and cross no less. ``times`` is how often the operands cross in each of ``orders``, ``[orders, tiles]``.
    """

    sizes: tuple[np.ndarray, np.ndarray, np.ndarray]
    pieces: tuple[np.ndarray, np.ndarray, np.ndarray]
    reads: np.ndarray
    orders: tuple[str, ...]
    times: Times

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.reads)

    def times_at(self, order: int, tile: int) -> Times:
        """Return how often each operand crosses for one tile in one order."""
        a, w, sums = self.times
        return float(a[order, tile]), float(w[order, tile]), float(sums[order, tile])


def stage_cuts(problem: TileProblem, outer: Pieces, limit: LevelTile) -> AllCuts:
    """Return the ways to cut m, n and k inside ``outer`` pieces, within the sizes that ``limit`` gives."""
    conv = problem.conv
    n = plain_cuts(problem.n, outer[1], limit.n)
    if conv is None:
        return plain_cuts(problem.m, outer[0], limit.m), n, plain_cuts(problem.k, outer[2], limit.k)
    return pixel_cuts(conv, outer[0], limit.m), n, channel_cuts(conv, outer[2], limit.k)


@lru_cache(maxsize=4096)
def stage_grid(problem: TileProblem, rooms: tuple[Room, ...], limit: LevelTile, outer: Pieces) -> Grid:
    """Return the tiles that fit ``rooms`` inside ``outer`` pieces. Raises NoTileError when none does.

    They do not depend on speeds, nor on what has to cross: design points share them.
    """
    m, n, k = cuts = stage_cuts(problem, outer, limit)
    fits = _fits(rooms, cuts)
    m_ways, n_ways = np.nonzero(fits[:, :, -1])
    if not len(m_ways):
        raise _no_tile(rooms, cuts, limit)
    k_ways = fits.argmax(axis=2)[m_ways, n_ways]
    pieces = (m.parts[m_ways], n.parts[n_ways], k.parts[k_ways])
    if limit.order:
        told = crossings(limit.order, pieces, outer)
        times = np.stack(np.broadcast_arrays(*told, pieces[0])[:3])[:, None]
    else:
        times = best_crossings(pieces, outer)
    return Grid(
        sizes=(m.sizes[m_ways], n.sizes[n_ways], k.sizes[k_ways]),
        pieces=pieces,
        reads=m.reads[m_ways],
        orders=(limit.order,) if limit.order else ORDERS,
        times=(times[0], times[1], times[2]),
    )


def whole_fits(rooms: Sequence[Room], cuts: AllCuts) -> bool:
    """Tell whether the coarsest tile fits every memory."""
    m, n, k = cuts
    elements = _elements(m.sizes[0], n.sizes[0], k.sizes[0], m.footprint[0], k.footprint[0])
    for room in rooms:
        if sum([elements[operand] * bits for operand, bits in room.element_bits]) > room.capacity_bits:
            return False
    return True


def _fits(rooms: Sequence[Room], cuts: AllCuts) -> np.ndarray:
    """Tell which tiles fit every memory, ``[m, n, k]``."""
    m, n, k = cuts
    elements = _elements(
        m.sizes[:, None, None],
        n.sizes[:, None],
        k.sizes,
        m.footprint[:, None, None],
        k.footprint,
    )
    fits = np.ones((len(m.parts), len(n.parts), len(k.parts)), bool)
    for room in rooms:
        if room.element_bits:
            need = sum(elements[operand] * bits for operand, bits in room.element_bits)
            fits &= need <= room.capacity_bits
    return fits


def _elements(m: Any, n: Any, k: Any, m_read: Any, k_read: Any) -> dict[str, Any]:
    """Return the elements of both operands and the sums in a tile that reads so much of the first one."""
    return {"a": m_read * k_read, "w": n * k, "s": m * n}


def crossings(order: str, pieces: Sequence[Any], outer: Sequence[Any]) -> Times:
    """Return how often each operand crosses (sums: visits) when the loops run in ``order``."""
    x, y, z = ("mnk".index(loop) for loop in order)
    times = list(pieces)
    times[z] = outer[z]
    z_runs, y_runs = pieces[z] > outer[z], pieces[y] > outer[y]
    times[y] = np.where(z_runs, pieces[y], outer[y])
    times[x] = np.where(z_runs | y_runs, pieces[x], outer[x])
    return times[1], times[0], times[2]


def best_crossings(pieces: Sequence[np.ndarray], outer: Pieces) -> np.ndarray:
    """Return the crossings in each of ``ORDERS``, ``[operands, orders, tiles]``, as if every loop ran.

    A loop of a single step makes no order better than the best of these.
    """
    (m, n, k), (outer_m, outer_n, outer_k) = pieces, outer
    times = np.empty((3, len(ORDERS), len(m)))
    times[0], times[1], times[2] = n, m, k
    times[0, 1], times[1, 2], times[2, 0] = outer_n, outer_m, outer_k
    return times


def link_bytes(problem: TileProblem, link: Link, times: Times, reads: Any) -> Any:
    """Return the bytes that cross a link, sums in both directions, with all pieces of m reading ``reads``.

    The last visit of the sums leaves as the output and does not count.
    """
    a_times, w_times, visits = times
    if link.operand == "a":
        return link.size_bytes * reads / problem.a_positions * a_times
    return link.size_bytes * w_times if link.operand == "w" else 2 * link.size_bytes * (visits - 1)


def _no_tile(rooms: Sequence[Room], cuts: AllCuts, limit: LevelTile) -> NoTileError:
    m, n, k = (float(cut.sizes[-1]) for cut in cuts)
    elements = _elements(m, n, k, float(cuts[0].footprint[-1]), float(cuts[2].footprint[-1]))
    needs = [sum(elements[operand] * bits for operand, bits in room.element_bits) for room in rooms]
    tight, need = next(pair for pair in zip(rooms, needs, strict=True) if pair[1] > pair[0].capacity_bits)
    asked = any((limit.m, limit.n, limit.k))
    return NoTileError(
        tight.level,
        f"does not fit memory '{tight.level}': a tile may take {tight.capacity_bits / 8:g} bytes, but "
        f"the smallest one{' that the mapping allows' if asked else ''} (m x n x k = {m:g} x {n:g} x {k:g}) "
        f"takes {need / 8:g}; make the memory larger{' or the tile smaller' if asked else ''}.",
    )
