"""The search for tiles of a matrix product: exact, over a small space.

A *stage* is one memory, or neighbouring memories that hold different operands. It holds one tile ``m`` x
``n`` x ``k``: of each operand that part, as long as the innermost loop over the tiles does not change it.
Tiles of an inner stage lie within the tile of the outer one and start afresh with each.

The space: every way of `hqsim.cost.cuts` to cut each dimension, every order of the loops, all stages at
once. The best tiling takes the fewest cycles beside the layer's engines; among those it moves the fewest
bytes at DRAM, then at the memories inwards, then has the fewest tiles. So a layer that its engines bind takes
the least traffic, any other one the least time. Nothing is skipped but what cannot win: more pieces of k than
fit, and tiles whose least, were the inner memories no obstacle, is more than the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hqsim.cost.mapping import LevelTile
from hqsim.cost.pace import Pace
from hqsim.cost.tile_grid import (
    ORDERS,
    AllCuts,
    Grid,
    Pieces,
    Stage,
    TileProblem,
    Times,
    link_bytes,
    stage_cuts,
    stage_grid,
    whole_fits,
)
from hqsim.errors import InputError

Merit = tuple[float, ...]
"""Cycles, then bytes from DRAM inwards; the least is the best."""


class StageTile(NamedTuple):
    """The tile of one stage: its order and sizes, and the bytes that cross each link (sums: both ways)."""

    order: str
    m: int
    n: int
    k: int
    link_bytes: tuple[float, ...]


class _Search(NamedTuple):
    """A product, its stages from the array outward with what is fixed for each, and the layer's pace."""

    problem: TileProblem
    stages: list[tuple[Stage, LevelTile]]
    pace: Pace


class _Option(NamedTuple):
    """A tile of one stage: the least merit that it can have, its pieces, all bytes so far by memory."""

    tile: StageTile
    bound: Merit
    pieces: Pieces
    level_bytes: np.ndarray


class _Tiles(NamedTuple):
    """The tiles of one stage in every order: a column each of ``merits``, what counts most in the last row.

    ``moved`` has all bytes so far by memory, ``[levels, orders, tiles]``.
    """

    problem: TileProblem
    stage: Stage
    grid: Grid
    merits: np.ndarray
    moved: np.ndarray

    def option(self, position: int) -> _Option:
        """Return one of them."""
        grid = self.grid
        order, at = divmod(position, grid.count)
        m_size, n_size, k_size = (int(size[at]) for size in grid.sizes)
        m, n, k = (int(pieces[at]) for pieces in grid.pieces)
        times, reads = grid.times_at(order, at), float(grid.reads[at])
        return _Option(
            tile=StageTile(
                order=grid.orders[order],
                m=m_size,
                n=n_size,
                k=k_size,
                link_bytes=tuple(
                    [float(link_bytes(self.problem, link, times, reads)) for link in self.stage.links]
                ),
            ),
            bound=tuple(self.merits[:0:-1, position].tolist()),
            pieces=(m, n, k),
            level_bytes=self.moved[:, order, at],
        )

    def least(self) -> int:
        """Return the number of the least one."""
        merits = self.merits
        among = np.flatnonzero(merits[-1] == np.minimum.reduce(merits[-1]))
        for row in merits[-2::-1]:
            if len(among) == 1:
                break
            left = row[among]
            among = among[left == np.minimum.reduce(left)]
        return int(among[0])

    def below(self, merit: Merit) -> list[int]:
        """Return the numbers of those whose bound is less than ``merit``, the least one first."""
        among, found = np.arange(self.merits.shape[1]), []
        for row, limit in zip(self.merits[:0:-1], merit, strict=True):
            left = row[among]
            found.append(among[left < limit])
            among = among[left == limit]
            if not len(among):
                break
        numbers = np.sort(np.concatenate(found))
        if len(numbers) > 1:
            numbers = numbers[np.lexsort(self.merits[:, numbers])]
        result: list[int] = numbers.tolist()
        return result


def search_tiles(
    problem: TileProblem,
    stages: tuple[Stage, ...],
    *,
    pace: Pace,
    level_bytes: Sequence[float],
    fixed: Sequence[LevelTile] = (),
) -> tuple[StageTile, ...]:
    """Return the best tile of every stage; ``stages`` stand from the array outward.

    ``level_bytes`` is what every memory moves besides the links of the stages. ``fixed`` may give the order
    of the loops at a memory and limits to the size of its tile.

    Raises
    ------
    NoTileError
        When not even the smallest tile fits a memory.
    InputError
        When ``fixed`` says two things about the memories of one stage, or asks for a tile of a convolution
        that is smaller than its window.
    """
    limits = [_limits(stage, fixed) for stage in stages]
    for limit in limits:
        _check_window(problem, limit)
    search = _Search(problem, list(zip(stages, limits, strict=True)), pace)
    return _solve(search, len(stages), (1, 1, 1), np.array(level_bytes, np.float64))[1]


def _limits(stage: Stage, fixed: Sequence[LevelTile]) -> LevelTile:
    """Return what is fixed for the tile of a stage, under the name of its memories."""
    names = [room.level for room in stage.rooms]
    told: dict[str, object] = {}
    for tile in fixed:
        for field in ("order", "m", "n", "k") if tile.level in names else ():
            value = getattr(tile, field)
            if value is not None and told.setdefault(field, value) != value:
                raise InputError(
                    f"the mapping fixes '{field}' of memories that share one tile ({', '.join(names)}) to "
                    f"{told[field]} and to {value}; give it once."
                )
    return LevelTile(level=" and ".join(names), **told)  # type: ignore[arg-type]


def _check_window(problem: TileProblem, limit: LevelTile) -> None:
    window = problem.conv.kernel_h * problem.conv.kernel_w if problem.conv else 1
    if limit.k is not None and limit.k < window:
        raise InputError(
            f"the mapping limits k to {limit.k} at {limit.level}, but the smallest tile of this convolution "
            f"is one window, k = {window}."
        )


def _solve(
    search: _Search, depth: int, outer: Pieces, level_bytes: np.ndarray
) -> tuple[Merit, tuple[StageTile, ...]]:
    """Return the least merit and the tiles of the ``depth`` innermost stages, from the array outward."""
    if not depth:
        return (), ()
    index = depth - 1
    stage, limit = search.stages[index]
    if limit == LevelTile(level=limit.level):
        cuts = stage_cuts(search.problem, outer, limit)
        # A tile that is not cut further, where it fits, is nowhere smaller and costs no more than others.
        if whole_fits(stage.rooms, cuts):
            return _inside(search, index, _whole(search, index, outer, cuts, level_bytes))
    tiles = _tiles(search, index, outer, level_bytes)
    first = tiles.least()
    best = _inside(search, index, tiles.option(first))
    # At the innermost stage nothing can come on top of the bound.
    for position in tiles.below(best[0]) if index else ():
        if position == first:
            continue
        option = tiles.option(position)
        if option.bound >= best[0]:
            break
        found = _inside(search, index, option)
        if found[0] < best[0]:
            best = found
    return best


def _inside(search: _Search, index: int, option: _Option) -> tuple[Merit, tuple[StageTile, ...]]:
    """Return the least merit with a tile of stage ``index`` chosen, and all tiles up to it."""
    if not index:
        return option.bound, (option.tile,)
    merit, tiles = _solve(search, index, option.pieces, option.level_bytes)
    return merit, (*tiles, option.tile)


def _tiles(search: _Search, index: int, outer: Pieces, level_bytes: np.ndarray) -> _Tiles:
    """Return the tiles of stage ``index``, each bounded as if the inner memories were no obstacle."""
    problem, (stage, limit) = search.problem, search.stages[index]
    grid = stage_grid(problem, stage.rooms, limit, outer)
    levels, orders = len(level_bytes), len(grid.orders)
    moved = np.empty((levels, orders, grid.count))
    moved[:] = level_bytes[:, None, None]
    _add(moved, problem, stage, grid.times, grid.reads)
    m, n, k = grid.pieces
    least = moved.copy() if index else moved
    for below, _ in search.stages[:index]:
        _add(least, problem, below, (n, m, k), grid.reads)
    merits = np.empty((levels + 2, orders, grid.count))
    merits[0] = m * n * k
    merits[1:-1] = least
    merits[-1] = search.pace.cycles(search.pace.transfer_cycles(least))
    return _Tiles(problem, stage, grid, merits.reshape(levels + 2, -1), moved)


def _whole(search: _Search, index: int, outer: Pieces, cuts: AllCuts, level_bytes: np.ndarray) -> _Option:
    """Return the tile of stage ``index`` that is as large as the one around it."""
    problem, (stage, _) = search.problem, search.stages[index]
    times, reads = (outer[1], outer[0], outer[2]), float(cuts[0].reads[0])
    moved = level_bytes.copy()
    _add(moved, problem, stage, times, reads)
    cycles = search.pace.cycles(search.pace.transfer_cycles(moved))
    m, n, k = (int(cut.sizes[0]) for cut in cuts)
    crossing = tuple([float(link_bytes(problem, link, times, reads)) for link in stage.links])
    return _Option(
        tile=StageTile(order=ORDERS[0], m=m, n=n, k=k, link_bytes=crossing),
        bound=(float(cycles), *moved[::-1].tolist()),
        pieces=outer,
        level_bytes=moved,
    )


def _add(moved: np.ndarray, problem: TileProblem, stage: Stage, times: Times, reads: Any) -> None:
    """Add what crosses a stage's links, which counts at both ends, to the bytes of every memory."""
    for link in stage.links:
        crossing = link_bytes(problem, link, times, reads)
        moved[link.source] += crossing
        moved[link.target] += crossing
