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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hqsim.cost.mapping import LevelTile
from hqsim.cost.pace import Pace
from hqsim.cost.tile_grid import (
    ORDERS,
    AllCuts,
    Pieces,
    Stage,
    TileProblem,
    Times,
    best_crossings,
    crossings,
    link_bytes,
    stage_cuts,
    stage_grid,
    whole_fits,
)
from hqsim.errors import InputError

Merit = tuple[float, ...]
"""Cycles, then bytes from DRAM inwards; the least is the best."""


@dataclass(frozen=True, kw_only=True)
class StageTile:
    """The tile of one stage: its order and sizes, and the bytes that cross each link (sums: both ways)."""

    order: str
    m: int
    n: int
    k: int
    link_bytes: tuple[float, ...]


@dataclass(frozen=True)
class _Search:
    """A product, its stages from the array outward with what is fixed for each, and the layer's pace."""

    problem: TileProblem
    stages: list[tuple[Stage, LevelTile]]
    pace: Pace


@dataclass(frozen=True)
class _Option:
    """A tile of one stage: the least merit that it can have, its pieces, all bytes so far by memory."""

    tile: StageTile
    bound: Merit
    pieces: Pieces
    level_bytes: np.ndarray


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
    return _solve(search, len(stages), (1, 1, 1), np.array([level_bytes], np.float64).T)[1]


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
    best: tuple[Merit, tuple[StageTile, ...]] = (), ()
    for option in _options(search, depth - 1, outer, level_bytes) if depth else ():
        if best[0] and option.bound >= best[0]:
            break
        # At the innermost stage nothing can come on top of the bound.
        inner = (
            _solve(search, depth - 1, option.pieces, option.level_bytes) if depth > 1 else (option.bound, ())
        )
        if not best[0] or inner[0] < best[0]:
            best = inner[0], (*inner[1], option.tile)
    return best


def _options(search: _Search, index: int, outer: Pieces, level_bytes: np.ndarray) -> Iterator[_Option]:
    """Yield the tiles of stage ``index``, the least bound first, then the fewest tiles.

    A tile that is not cut further, where it fits, is nowhere smaller and nowhere costs more than others.
    """
    stage, limit = search.stages[index]
    cuts = stage_cuts(search.problem, outer, limit)
    free = limit == LevelTile(level=limit.level)
    if free and whole_fits(stage, cuts):
        yield _whole(search, index, outer, cuts, level_bytes)
        return
    grid = stage_grid(stage, limit, cuts)
    orders = (limit.order,) if limit.order else ORDERS
    times = crossings(limit.order, grid.pieces, outer) if limit.order else best_crossings(grid.pieces, outer)
    crossing = _crossing(search.problem, stage, times, grid.reads, (len(orders), grid.count))
    moved = least = _add(level_bytes, stage, crossing)
    m, n, k = grid.pieces
    for below, _ in search.stages[:index]:
        inward = _crossing(search.problem, below, (n, m, k), grid.reads, (len(orders), grid.count))
        least = _add(least, below, inward)
    # A column per tile and order, what counts most in the last row.
    merits = np.empty((len(least) + 2, least.shape[1]))
    merits[0].reshape(len(orders), -1)[:] = m * n * k
    merits[1:-1] = least
    merits[-1] = search.pace.cycles(search.pace.transfer_cycles(least))
    for position in (np.lexsort(merits) if index else _first(merits)).tolist():
        order, at = divmod(position, grid.count)
        m_size, n_size, k_size = (int(size[at]) for size in grid.sizes)
        yield _Option(
            tile=StageTile(
                order=orders[order],
                m=m_size,
                n=n_size,
                k=k_size,
                link_bytes=tuple(crossing[:, position].tolist()),
            ),
            bound=tuple(merits[:0:-1, position].tolist()),
            pieces=(int(m[at]), int(n[at]), int(k[at])),
            level_bytes=moved[:, position, None],
        )


def _whole(search: _Search, index: int, outer: Pieces, cuts: AllCuts, level_bytes: np.ndarray) -> _Option:
    """Return the tile of stage ``index`` that is as large as the one around it."""
    problem, (stage, _) = search.problem, search.stages[index]
    times, reads = (outer[1], outer[0], outer[2]), cuts[0].reads[0]
    crossing = np.array([link_bytes(problem, link, times, reads) for link in stage.links]).reshape(-1, 1)
    moved = _add(level_bytes, stage, crossing)
    cycles = search.pace.cycles(search.pace.transfer_cycles(moved))
    m, n, k = (int(cut.sizes[0]) for cut in cuts)
    return _Option(
        tile=StageTile(order=ORDERS[0], m=m, n=n, k=k, link_bytes=tuple(crossing.ravel().tolist())),
        bound=(float(cycles[0]), *moved[::-1, 0].tolist()),
        pieces=outer,
        level_bytes=moved,
    )


def _crossing(
    problem: TileProblem, stage: Stage, times: Times, reads: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Return the bytes that cross every link of a stage in all orders and tiles (``shape``), flat."""
    crossing = np.empty((len(stage.links), *shape))
    for of_link, link in zip(crossing, stage.links, strict=True):
        of_link[:] = link_bytes(problem, link, times, reads)
    return crossing.reshape(len(stage.links), shape[0] * shape[1])


def _add(level_bytes: np.ndarray, stage: Stage, crossing: np.ndarray) -> np.ndarray:
    """Return the bytes of every memory with those of a stage's links, which count at both ends."""
    moved = level_bytes + np.zeros(crossing.shape[1])
    for link, of_link in zip(stage.links, crossing, strict=True):
        moved[link.source] += of_link
        moved[link.target] += of_link
    return moved


def _first(merits: np.ndarray) -> np.ndarray:
    """Return the number of the least column, the last row counting most."""
    among = np.flatnonzero(merits[-1] == merits[-1].min())
    for row in merits[-2::-1]:
        if len(among) == 1:
            break
        left = row[among]
        among = among[left == left.min()]
    return among[:1]
