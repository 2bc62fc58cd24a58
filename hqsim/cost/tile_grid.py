"""All tiles of a matrix product that one stage of memories can hold, and what they make cross.

With ``P`` pieces per dimension in the stage and ``Q`` in the one around it (1 around the outermost), the
loops over the tiles run in a given order, and the innermost one that runs at all spares the operand
that it does not change. In all,

    first operand    crosses  Pn times, if n is innermost Qn times   (and its overlapping windows again)
    second operand   crosses  Pm times, if m is innermost Qm times
    partial sums     visit    Pk times, if k is innermost Qk times; all visits but the last leave again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hqsim.cost.cuts import Cuts, channel_cuts, pixel_cuts, plain_cuts
from hqsim.cost.mapping import LevelTile
from hqsim.errors import UnsupportedError
from hqsim.graph.record import ConvWork

#: An order of the loops for each innermost one; where all loops run, the outer two make no difference.
ORDERS = ("mnk", "mkn", "nkm")

Pieces = tuple[int, int, int]
AllCuts = tuple[Cuts, Cuts, Cuts]


class NoTileError(UnsupportedError):
    """No tile of a product fits the memory ``level``."""

    def __init__(self, level: str, text: str) -> None:
        super().__init__(text)
        self.level = level


@dataclass(frozen=True, kw_only=True)
class TileProblem:
    """Equal products ``[m, k] x [k, n]``; ``conv`` is the convolution behind them, if there is one.

    ``a_bits`` and ``w_bits`` are both operands of all products, once; ``sum_bits`` the accumulators of all
    results.
    """

    m: int
    n: int
    k: int
    conv: ConvWork | None = None
    a_bits: float
    w_bits: float
    sum_bits: float

    @property
    def a_positions(self) -> int:
        """What `Cuts.reads` of ``m`` counts when nothing is read twice."""
        return self.conv.batch * self.conv.in_h * self.conv.in_w if self.conv else self.m


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a tile may take of one memory, and the bits that an element of each operand takes there.

    Operands are ``a``, ``w`` and ``s``, the partial sums.
    """

    level: str
    capacity_bits: float
    element_bits: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Memories with one tile; ``sources`` gives the number of the memory behind, for each operand."""

    rooms: tuple[Room, ...]
    sources: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All tiles of a stage in every order of its loops, ``[orders, m, n, k]``.

    ``costs`` are bits by the number of the memory behind, ``fits`` is ``[m, n, k]``.
    """

    orders: tuple[str, ...]
    cuts: AllCuts
    costs: Mapping[int, np.ndarray]
    fits: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """``(orders, m, n, k)``."""
        return (len(self.orders), *self.fits.shape)

    def pieces(self, among: np.ndarray) -> np.ndarray:
        """Return the pieces ``[3, tiles]`` of the tiles with the flat positions ``among``."""
        ways = np.unravel_index(among, self.shape)[1:]
        return np.array([cut.parts[way] for cut, way in zip(self.cuts, ways, strict=True)])


def stage_cuts(problem: TileProblem, outer: Pieces, limit: LevelTile) -> AllCuts:
    """Return the ways to cut m, n and k inside ``outer`` pieces, within the sizes that ``limit`` gives."""
    conv = problem.conv
    n = plain_cuts(problem.n, outer[1], limit.n)
    if conv is None:
        return plain_cuts(problem.m, outer[0], limit.m), n, plain_cuts(problem.k, outer[2], limit.k)
    return pixel_cuts(conv, outer[0], limit.m), n, channel_cuts(conv, outer[2], limit.k)


def stage_grid(problem: TileProblem, stage: Stage, limit: LevelTile, cuts: AllCuts, outer: Pieces) -> Grid:
    """Return every tile, in the order that ``limit`` gives or in all. Raises NoTileError when none fits."""
    m, n, k = cuts
    fits = np.ones([len(cut.parts) for cut in cuts], bool)
    fits &= tiles_fit(stage, _spread(m.sizes, n.sizes, k.sizes), _spread(m.footprint, n.sizes, k.footprint))
    if not fits.any():
        raise _no_tile(stage, cuts, limit)
    orders = (limit.order,) if limit.order else ORDERS
    pieces = _spread(m.parts, n.parts, k.parts)
    overlap = m.reads[:, None, None] / problem.a_positions
    costs = {source: np.empty((len(orders), *fits.shape)) for _, source in stage.sources}
    for index, order in enumerate(orders):
        # Among all orders the best is the same when every loop counts as running, which is faster.
        times = crossings(order, pieces, outer, overlap, all_run=limit.order is None)
        bits = moved_bits(problem, times)
        for source, cost in costs.items():
            cost[index] = sum(bits[operand] for operand, behind in stage.sources if behind == source)
    return Grid(orders=orders, cuts=cuts, costs=costs, fits=fits)


def tiles_fit(stage: Stage, sizes: Sequence[Any], footprint: Sequence[Any]) -> Any:
    """Tell whether tiles fit every memory; lengths along m, n, k, and what they read of the first operand."""
    (m, n, k), (m_read, _, k_read) = sizes, footprint
    elements = {"a": m_read * k_read, "w": n * k, "s": m * n}
    fits: Any = True
    for room in stage.rooms:
        fits = fits & (
            sum(elements[operand] * bits for operand, bits in room.element_bits) <= room.capacity_bits
        )
    return fits


def crossings(
    order: str, pieces: Sequence[Any], outer: Sequence[Any], overlap: Any, *, all_run: bool = False
) -> dict[str, Any]:
    """Return how often each operand crosses (sums: visits) when the loops run in ``order``.

    With ``all_run`` even a loop of a single step counts as one that runs.
    """
    x, y, z = ("mnk".index(loop) for loop in order)
    times = list(pieces)
    times[z] = outer[z]
    if not all_run:
        z_runs, y_runs = pieces[z] > outer[z], pieces[y] > outer[y]
        times[y] = np.where(z_runs, pieces[y], outer[y])
        times[x] = np.where(z_runs | y_runs, pieces[x], outer[x])
    return {"a": overlap * times[1], "w": times[0], "s": times[2]}


def moved_bits(problem: TileProblem, times: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bits that each operand moves when it crosses so often."""
    return {
        "a": problem.a_bits * times["a"],
        "w": problem.w_bits * times["w"],
        "s": 2 * problem.sum_bits * (times["s"] - 1),
    }


def _spread(m: np.ndarray, n: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return m[:, None, None], n[None, :, None], k[None, None, :]


def _no_tile(stage: Stage, cuts: AllCuts, limit: LevelTile) -> NoTileError:
    m, n, k = (float(cut.sizes[-1]) for cut in cuts)
    footprint = [float(cut.footprint[-1]) for cut in cuts]
    tight = next(
        room for room in stage.rooms if not tiles_fit(Stage(rooms=(room,), sources=()), (m, n, k), footprint)
    )
    elements = {"a": footprint[0] * footprint[2], "w": n * k, "s": m * n}
    need = sum(elements[operand] * bits for operand, bits in tight.element_bits)
    asked = any((limit.m, limit.n, limit.k))
    return NoTileError(
        tight.level,
        f"does not fit memory '{tight.level}': a tile may take {tight.capacity_bits / 8:g} bytes, but "
        f"the smallest one{' that the mapping allows' if asked else ''} (m x n x k = {m:g} x {n:g} x {k:g}) "
        f"takes {need / 8:g}; make the memory larger{' or the tile smaller' if asked else ''}.",
    )
