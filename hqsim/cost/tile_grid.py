"""All tiles of matrix products that one stage of memories can hold, and what they make cross.

With ``P`` pieces per dimension in the stage and ``Q`` in the one around it (1 around the outermost), the
loops over the tiles run in a given order, and the innermost one that runs at all spares the operand
that it does not change. In all,

    first operand    crosses  Pn times, if n is innermost Qn times   (and its overlapping windows again)
    second operand   crosses  Pm times, if m is innermost Qm times
    partial sums     visit    Pk times, if k is innermost Qk times; all visits but the last leave again

The tiles of many products stand side by side in the same arrays: a product has a few hundred, too few for
numpy to be worth its calls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hqsim.cost.cuts import Cuts, channel_cuts, pixel_cuts, plain_cuts
from hqsim.cost.mapping import LevelTile
from hqsim.errors import UnsupportedError
from hqsim.graph.record import ConvWork

#: An order of the loops for each innermost one; where all loops run, the outer two make no difference.
ORDERS = ("mnk", "mkn", "nkm")
#: The first operand of a product, the second one, and the partial sums.
OPERANDS = ("a", "w", "s")

Pieces = tuple[int, int, int]
AllCuts = tuple[Cuts, Cuts, Cuts]


class NoTileError(UnsupportedError):
    """No tile of a product fits the memory ``level``."""

    def __init__(self, level: str, text: str) -> None:
        super().__init__(text)
        self.level = level


class TileProblem(NamedTuple):
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
    """What a tile may take of one memory, and the bits that an element of each of ``OPERANDS`` takes there.

    They are 0 for an operand that the memory does not hold, or holds whole.
    """

    level: str
    capacity_bits: float
    element_bits: tuple[float, float, float]


ENDLESS = Room("", math.inf, (0.0, 0.0, 0.0))


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


class Place(NamedTuple):
    """A product whose tiles shall fit ``rooms``, inside ``outer`` pieces and within a ``limit``."""

    problem: TileProblem
    rooms: tuple[Room, ...]
    limit: LevelTile
    outer: Pieces

    @property
    def orders(self) -> Sequence[str]:
        """Names of the orders of the loops."""
        return (self.limit.order,) * len(ORDERS) if self.limit.order else ORDERS


@dataclass(frozen=True)
class Grid:
    """The tiles that fit, ``[tiles]``; ``owner`` is the number of the place that they belong to, ascending.

    ``sizes``, ``[dimensions, tiles]``, are the largest ones, ``pieces`` how many there are, ``cut`` tells
    whether those are more than around the place, ``reads`` counts the input positions that all pieces of m
    read. ``times`` is how often the operands cross in each of the orders (sums: visits), ``[operands, orders,
    tiles]``. A tile is left out where another one that fits has no more pieces of any dimension: it crosses
    no more, and leaves the inner memories no less choice. ``refusals`` are the places without a tile.
    """

    owner: np.ndarray
    sizes: np.ndarray
    pieces: np.ndarray
    cut: np.ndarray
    reads: np.ndarray
    times: np.ndarray
    refusals: Mapping[int, NoTileError]


def stage_grid(places: Sequence[Place]) -> Grid:
    """Return the tiles that fit each of ``places``."""
    cuts = [_stage_cuts(place) for place in places]
    (m, m_is), (n, n_is), (k, _) = (_tables([ways[dimension] for ways in cuts]) for dimension in range(3))
    too_large = _too_large(_room_arrays(places), m, n, k)
    fit = (too_large < k.shape[-1]) & m_is[:, :, None] & n_is[:, None, :]
    fewest = fit.copy()
    fewest[:, 1:] &= too_large[:, 1:] < too_large[:, :-1]
    fewest[:, :, 1:] &= too_large[:, :, 1:] < too_large[:, :, :-1]
    owner, m_way, n_way = np.nonzero(fewest)
    tiles = m[:, owner, m_way], n[:, owner, n_way], k[:, owner, too_large[owner, m_way, n_way]]
    pieces = np.stack([parts for parts, _, _, _ in tiles])
    outer = np.array([place.outer for place in places], np.float64).T[:, owner]
    return Grid(
        owner=owner,
        sizes=np.stack([sizes for _, sizes, _, _ in tiles]),
        pieces=pieces,
        cut=np.any(pieces > outer, axis=0),
        reads=tiles[0][2],
        times=_times(places, owner, pieces, outer),
        refusals={
            number: _no_tile(places[number], cuts[number])
            for number in np.flatnonzero(~fit.any(axis=(1, 2))).tolist()
        },
    )


def _stage_cuts(place: Place) -> AllCuts:
    """Return the ways to cut m, n and k."""
    problem, outer, limit = place.problem, place.outer, place.limit
    n = plain_cuts(problem.n, outer[1], limit.n)
    if problem.conv is None:
        return plain_cuts(problem.m, outer[0], limit.m), n, plain_cuts(problem.k, outer[2], limit.k)
    return pixel_cuts(problem.conv, outer[0], limit.m), n, channel_cuts(problem.conv, outer[2], limit.k)


def _tables(cuts: Sequence[Cuts]) -> tuple[np.ndarray, np.ndarray]:
    """Return the tables of all cuts, ``[4, cuts, ways]``, and where these do not repeat the last way."""
    ways = np.array([cut.table.shape[1] for cut in cuts])
    number = np.arange(ways.max())
    at = (np.cumsum(ways) - ways)[:, None] + np.minimum(number, ways[:, None] - 1)
    return np.concatenate([cut.table for cut in cuts], axis=1)[:, at], number < ways[:, None]


def _room_arrays(places: Sequence[Place]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return by room what it can hold, ``[places, 1, 1]``, and an element's bits, ``[operands, ...]``."""
    most = max(len(place.rooms) for place in places)
    filled = [(*place.rooms, *[ENDLESS] * (most - len(place.rooms))) for place in places]
    return [
        (
            np.array([room.capacity_bits for room in beside])[:, None, None],
            np.array([room.element_bits for room in beside]).T[..., None, None],
        )
        for beside in zip(*filled, strict=True)
    ]


def _too_large(
    rooms: Sequence[tuple[np.ndarray, np.ndarray]], m: np.ndarray, n: np.ndarray, k: np.ndarray
) -> np.ndarray:
    """Return how many ways to cut k, the coarsest ones, are too large for a room, ``[places, m, n]``."""
    (_, m_sizes, _, m_read), (_, n_sizes, _, _) = m[..., None], n[:, :, None]
    sums = m_sizes * n_sizes
    beside = [(capacity, a_bits, w_bits, sums * s_bits) for capacity, (a_bits, w_bits, s_bits) in rooms]
    too_large = np.zeros(sums.shape, np.int64)
    for k_sizes, k_read in zip(k[1].T[..., None, None], k[3].T[..., None, None], strict=True):
        a, w = m_read * k_read, n_sizes * k_sizes
        over: Any = False
        for capacity, a_bits, w_bits, s in beside:
            over = over | (a * a_bits + w * w_bits + s > capacity)
        too_large += over
    return too_large


def _times(places: Sequence[Place], owner: np.ndarray, pieces: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Return the crossings in each of ``ORDERS``, ``[operands, orders, tiles]``, as if every loop ran.

    A loop of a single step makes no order better than the best of these. Where the order is told, they are
    those in which its loops run.
    """
    (m, n, k), (outer_m, outer_n, outer_k) = pieces, outer
    times = np.empty((len(OPERANDS), len(ORDERS), len(owner)))
    times[0], times[1], times[2] = n, m, k
    times[0, 1], times[1, 2], times[2, 0] = outer_n, outer_m, outer_k
    for number, place in enumerate(places):
        if place.limit.order:
            own = owner == number
            times[:, :, own] = _crossings(place.limit.order, pieces[:, own], outer[:, own])[:, None]
    return times


def _crossings(order: str, pieces: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Return how often each operand crosses when the loops run in ``order``, ``[operands, tiles]``."""
    x, y, z = ("mnk".index(loop) for loop in order)
    times = outer.copy()
    z_runs, y_runs = pieces[z] > outer[z], pieces[y] > outer[y]
    times[y] = np.where(z_runs, pieces[y], outer[y])
    times[x] = np.where(z_runs | y_runs, pieces[x], outer[x])
    return times[[1, 0, 2]]


def _no_tile(place: Place, cuts: AllCuts) -> NoTileError:
    (_, m, _, m_read), (_, n, _, _), (_, k, _, k_read) = (cut.table[:, -1].tolist() for cut in cuts)
    elements = (m_read * k_read, n * k, m * n)
    needs = [
        sum([count * bits for count, bits in zip(elements, room.element_bits, strict=True)])
        for room in place.rooms
    ]
    tight, need = next(
        (room, need) for room, need in zip(place.rooms, needs, strict=True) if need > room.capacity_bits
    )
    asked = any((place.limit.m, place.limit.n, place.limit.k))
    return NoTileError(
        tight.level,
        f"does not fit memory '{tight.level}': a tile may take {tight.capacity_bits / 8:g} bytes, but "
        f"the smallest one{' that the mapping allows' if asked else ''} "
        f"(m x n x k = {m:g} x {n:g} x {k:g}) "
        f"takes {need / 8:g}; make the memory larger{' or the tile smaller' if asked else ''}.",
    )
