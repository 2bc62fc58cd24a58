"""The search for tiles of a matrix product: exact, over a small space.

A *stage* is one memory, or neighbouring memories that hold different operands. It holds one tile ``m`` x
``n`` x ``k``: of each operand that part, as long as the innermost loop over the tiles does not change it.
Tiles of an inner stage lie within the tile of the outer one and start afresh with each.

The space: every way of `hqsim.cost.cuts` to cut each dimension, every order of the loops, all stages at
once. The best tiling moves the fewest bits at DRAM, then at the memories inwards; the fewest tiles decide
between equals. Nothing is skipped but what cannot win (`_undominated`, and tiles whose least is more than
the best).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hqsim.cost.mapping import LevelTile
from hqsim.cost.tile_grid import (
    ORDERS,
    Grid,
    Pieces,
    Stage,
    TileProblem,
    crossings,
    moved_bits,
    stage_cuts,
    stage_grid,
    tiles_fit,
)
from hqsim.errors import InputError


@dataclass(frozen=True, kw_only=True)
class StageTile:
    """The tile of one stage: its order and sizes, and how often each operand crosses (sums: visits)."""

    order: str
    m: int
    n: int
    k: int
    times: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class _Option:
    """A tile of one stage, its pieces and its bits by source.

    ``floor`` is what the first source moves at least, whatever the inner stages do.
    """

    tile: StageTile
    pieces: Pieces
    costs: Sequence[float]
    floor: float


@lru_cache(maxsize=1 << 15)
def search_tiles(
    problem: TileProblem, stages: tuple[Stage, ...], fixed: tuple[LevelTile, ...] = ()
) -> tuple[StageTile, ...]:
    """Return the best tile of every stage; ``stages`` stand from the array outward.

    ``fixed`` may give the order of the loops at a memory and limits to the size of its tile.

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
    sources = sorted({source for stage in stages for _, source in stage.sources}, reverse=True)
    _, tiles = _solve(problem, list(zip(stages, limits, strict=True)), (1, 1, 1), sources or [0])
    return tiles


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
    problem: TileProblem, stages: list[tuple[Stage, LevelTile]], outer: Pieces, sources: list[int]
) -> tuple[tuple[float, ...], tuple[StageTile, ...]]:
    """Return the least bits by source, outermost first, and the tiles, from the array outward."""
    if not stages:
        return (0.0,) * len(sources), ()
    *inner, (stage, limit) = stages
    best: tuple[tuple[float, ...], tuple[StageTile, ...]] | None = None
    for option in _options(problem, stage, limit, [below for below, _ in inner], outer, sources):
        if best is not None and option.floor > best[0][0]:
            break
        below, tiles = _solve(problem, inner, option.pieces, sources)
        costs = tuple(own + rest for own, rest in zip(option.costs, below, strict=True))
        if best is None or costs < best[0]:
            best = costs, (*tiles, option.tile)
    assert best is not None, "a stage without any tile raises NoTileError"
    return best


def _options(
    problem: TileProblem,
    stage: Stage,
    limit: LevelTile,
    inner: list[Stage],
    outer: Pieces,
    sources: list[int],
) -> Iterator[_Option]:
    """Yield the tiles that can be part of the best tiling, those with the least floor first.

    A tile that is not cut further, where it fits, is nowhere smaller and nowhere costs more than others.
    """
    cuts = stage_cuts(problem, outer, limit)
    free = limit == LevelTile(level=limit.level)
    if free and tiles_fit(stage, [cut.sizes[0] for cut in cuts], [cut.footprint[0] for cut in cuts]):
        times = crossings(ORDERS[0], outer, outer, cuts[0].reads[0] / problem.a_positions)
        bits = moved_bits(problem, times)
        costs = [sum(float(bits[x]) for x, behind in stage.sources if behind == source) for source in sources]
        tile = _tile(stage, ORDERS[0], [cut.sizes[0] for cut in cuts], times)
        yield _Option(tile=tile, pieces=outer, costs=costs, floor=costs[0])
        return
    grid = stage_grid(problem, stage, limit, cuts, outer)
    floor = _floor(problem, stage, inner, grid, sources[0])
    while (least := floor.min()) < np.inf:
        at_floor = np.flatnonzero(floor == least)
        for index in _undominated(grid, at_floor) if inner else _cheapest(grid, at_floor, sources):
            which, *ways = np.unravel_index(index, grid.shape)
            m, n, k = (int(cut.parts[way]) for cut, way in zip(cuts, ways, strict=True))
            times = crossings(
                grid.orders[which], (m, n, k), outer, cuts[0].reads[ways[0]] / problem.a_positions
            )
            sizes = [cut.sizes[way] for cut, way in zip(cuts, ways, strict=True)]
            yield _Option(
                tile=_tile(stage, grid.orders[which], sizes, times),
                pieces=(m, n, k),
                costs=[float(grid.costs[s].flat[index]) if s in grid.costs else 0.0 for s in sources],
                floor=float(least),
            )
        floor.flat[at_floor] = np.inf


def _tile(stage: Stage, order: str, sizes: Sequence[float], times: Mapping[str, float]) -> StageTile:
    m, n, k = (int(size) for size in sizes)
    return StageTile(order=order, m=m, n=n, k=k, times={x: float(times[x]) for x, _ in stage.sources})


def _floor(problem: TileProblem, stage: Stage, inner: list[Stage], grid: Grid, source: int) -> np.ndarray:
    """Return what ``source`` moves at least: for this stage, and for what passes it by to an inner one.

    The result is ``[orders, m, n, k]``, infinite where a tile does not fit.
    """
    m, n, k = (cut.parts for cut in grid.cuts)
    least = moved_bits(problem, {"a": n[:, None], "w": m[:, None, None], "s": k})
    here = {operand for operand, _ in stage.sources}
    passing = {operand for below in inner for operand, behind in below.sources if behind == source} - here
    floor = grid.costs.get(source, np.zeros(grid.shape))
    for operand in sorted(passing):
        floor = floor + least[operand]
    return np.where(grid.fits, floor, np.inf)


def _cheapest(grid: Grid, among: np.ndarray, sources: list[int]) -> np.ndarray:
    """Return the one tile of ``among`` that moves the fewest bits, then has the fewest pieces."""
    for source in sources:
        if source in grid.costs:
            costs = grid.costs[source].flat[among]
            among = among[costs == costs.min()]
    return among[[grid.pieces(among).prod(axis=0).argmin()]]


def _undominated(grid: Grid, among: np.ndarray) -> np.ndarray:
    """Return the tiles of ``among`` that can be part of the best tiling, fewest pieces first.

    A tile is out when another one is nowhere smaller and nowhere costs more: whatever lies inside the
    one lies inside the other.
    """
    pieces = grid.pieces(among)
    by_size = np.argsort(pieces.prod(axis=0), kind="stable")
    among = among[by_size]
    marks = np.column_stack([*pieces[:, by_size], *(costs.flat[among] for costs in grid.costs.values())])
    kept = []
    while len(among):
        kept.append(among[0])
        rest = (marks < marks[0]).any(axis=1)
        among, marks = among[rest], marks[rest]
    return np.array(kept)
