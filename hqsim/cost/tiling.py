"""The search for tiles of matrix products: exact, over a small space, for many products at once.

A *stage* is one memory, or neighbouring memories that hold different operands. It holds one tile ``m`` x
``n`` x ``k``: of each operand that part, as long as the innermost loop over the tiles does not change it.
Tiles of an inner stage lie within the tile of the outer one and start afresh with each.

The space: every way of `hqsim.cost.cuts` to cut each dimension, every order of the loops, all stages at
once. The best tiling takes the fewest cycles beside the layer's engines; among those it moves the fewest
bytes at DRAM, then at the memories inwards, then has the fewest tiles. So a layer that its engines bind takes
the least traffic, any other one the least time. Nothing is skipped but what cannot win: tiles with no fewer
pieces of any dimension than another one that fits, and those whose least, were the inner memories no
obstacle, is more than the best.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from hqsim.cost.machine import Hardware
from hqsim.cost.mapping import LevelTile
from hqsim.cost.tile_grid import NoTileError, Stage, TileProblem
from hqsim.cost.tile_merits import Merit, Option, Search, StageTile, StageTiles, Task
from hqsim.errors import InputError

UNLIMITED = LevelTile(level="")


class _Found(NamedTuple):
    """The least merit and the tiles from the array outward, or why there are none."""

    merit: Merit
    tiles: tuple[StageTile, ...]
    refusal: NoTileError | None = None


def search_tiles(searches: Sequence[Search], hardware: Hardware) -> list[tuple[StageTile, ...] | NoTileError]:
    """Return the best tile of every stage, from the array outward, for each of ``searches``.

    In their place stands an error where not even the smallest tile fits a memory.
    """
    by_depth = defaultdict(list)
    for number, search in enumerate(searches):
        by_depth[len(search.stages)].append(number)
    best: dict[int, _Found] = {}
    for depth, numbers in by_depth.items():
        tasks = [Task(searches[number], (1, 1, 1), searches[number].level_bytes) for number in numbers]
        best |= zip(numbers, _solve(tasks, depth, hardware), strict=True)
    return [best[number].refusal or best[number].tiles for number in range(len(searches))]


def stage_limit(problem: TileProblem, stage: Stage, fixed: Sequence[LevelTile]) -> LevelTile:
    """Return what ``fixed`` says of the tile of a stage: the order of its loops, and limits to its size.

    Raises
    ------
    InputError
        When it says two things about the memories of the stage, or asks for a tile of a convolution that is
        smaller than its window.
    """
    if not fixed:
        return UNLIMITED
    names = [room.level for room in stage.rooms]
    told: dict[str, Any] = {}
    for tile in fixed:
        for field in ("order", "m", "n", "k") if tile.level in names else ():
            value = getattr(tile, field)
            if value is not None and told.setdefault(field, value) != value:
                raise InputError(
                    f"the mapping fixes '{field}' of memories that share one tile ({', '.join(names)}) to "
                    f"{told[field]} and to {value}; give it once."
                )
    level = " and ".join(names)
    window = problem.conv.kernel_h * problem.conv.kernel_w if problem.conv else 1
    if told.get("k", window) < window:
        raise InputError(
            f"the mapping limits k to {told['k']} at {level}, but the smallest tile of this convolution "
            f"is one window, k = {window}."
        )
    return LevelTile(level=level, **told)


def _solve(tasks: Sequence[Task], depth: int, hardware: Hardware) -> list[_Found]:
    """Return the best tiles of the ``depth`` innermost stages of each task."""
    if not depth:
        return [_Found((), ()) for _ in tasks]
    index = depth - 1
    tiles = StageTiles(tasks, index, hardware)
    first = tiles.least()
    options = tiles.options(*first)
    best = {option.number: found for option, found in _inside(options, index, hardware)}
    # At the innermost stage nothing can come on top of the bound; what fits no inner memory fits in no tile.
    merits = {number: found.merit for number, found in best.items() if index and not found.refusal}
    waiting, size = tiles.below(merits, but=first), 1
    while waiting:
        taken = [place for left in waiting.values() for place in left[:size]]
        options = tiles.options(*zip(*taken, strict=True))
        hopeful = [option for option in options if option.bound < best[option.number].merit]
        for option, found in _inside(hopeful, index, hardware):
            if found.merit < best[option.number].merit:
                best[option.number] = found
        numbers = {option.number for option in hopeful}
        waiting = {
            number: left[size:] for number, left in waiting.items() if number in numbers and left[size:]
        }
        size *= 2
    best |= {number: _Found((math.inf,), (), error) for number, error in tiles.refusals.items()}
    return [best[number] for number in range(len(tasks))]


def _inside(options: Sequence[Option], index: int, hardware: Hardware) -> list[tuple[Option, _Found]]:
    """Return the options for stage ``index``, each with its best, and all tiles up to it."""
    if not index:
        return [(option, _Found(option.bound, (option.tile,))) for option in options]
    inner = _solve([option.inside for option in options], index, hardware) if options else []
    return [
        (option, found._replace(tiles=(*found.tiles, option.tile)))
        for option, found in zip(options, inner, strict=True)
    ]
