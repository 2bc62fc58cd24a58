"""The tiles of one stage for many products: what each takes at least, and the best of them.

A tile's merit is its cycles, then its bytes from DRAM inwards, then how many tiles there are. While the tiles
of inner stages are open, it is bounded from below as if those memories were no obstacle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hqsim.cost.machine import Hardware
from hqsim.cost.mapping import LevelTile
from hqsim.cost.pace import Pace
from hqsim.cost.tile_grid import OPERANDS, NoTileError, Pieces, Place, Stage, TileProblem, stage_grid

Merit = tuple[float, ...]
"""Cycles, then bytes from DRAM inwards; the least is the best."""


class StageTile(NamedTuple):
    """The tile of one stage: its order and sizes, and the bytes of each operand that cross its link."""

    order: str
    m: int
    n: int
    k: int
    crossing_bytes: tuple[float, ...]


class Search(NamedTuple):
    """A product whose tiles are wanted, and its ``stages`` from the array outward, with what fixes them.

    ``level_bytes`` is what every memory moves besides the links of the stages.
    """

    problem: TileProblem
    stages: tuple[Stage, ...]
    limits: tuple[LevelTile, ...]
    engine_cycles: int
    level_bytes: Sequence[float]


class Task(NamedTuple):
    """A search inside ``outer`` pieces, with all bytes so far by memory."""

    search: Search
    outer: Pieces
    level_bytes: Sequence[float]


class Option(NamedTuple):
    """A tile of one stage of task ``number``: the least merit that it can have, and what it leaves to do."""

    number: int
    tile: StageTile
    bound: Merit
    inside: Task


class StageTiles:
    """The tiles of stage ``index`` of every task, each bounded as if the inner memories were no obstacle.

    A tile in an order stands at ``[order, tile]`` of all arrays.
    """

    def __init__(self, tasks: Sequence[Task], index: int, hardware: Hardware) -> None:
        self._tasks = tasks
        self._places = [
            Place(task.search.problem, task.search.stages[index].rooms, task.search.limits[index], task.outer)
            for task in tasks
        ]
        self._grid = grid = stage_grid(self._places)
        owner, orders = grid.owner, grid.times.shape[1]
        moved = np.array([task.level_bytes for task in tasks], np.float64).T[:, None, owner]
        self._moved = np.repeat(moved, orders, axis=1)
        self._crossing = self._cross(index, grid.times, self._moved)
        least = self._moved.copy() if index else self._moved
        m, n, k = grid.pieces
        for below in range(index):
            self._cross(below, np.stack([n, m, k])[:, None], least)
        engines = np.array([task.search.engine_cycles for task in tasks], np.float64)
        pace = Pace(hardware, engines[owner])
        # What counts most first.
        self._bounds = [pace.cycles(pace.transfer_cycles(least)), *least[::-1]]
        self._merits = [*self._bounds, np.broadcast_to(m * n * k, (orders, len(owner)))]

    @property
    def refusals(self) -> Mapping[int, NoTileError]:
        """Tasks without a tile, by number."""
        return self._grid.refusals

    def options(self, orders: Iterable[int], tiles: Iterable[int]) -> list[Option]:
        """Return the tiles with these numbers, each in its order."""
        grid, at = self._grid, (np.array(orders), np.array(tiles))
        columns = zip(
            grid.owner[at[1]].tolist(),
            at[0].tolist(),
            grid.sizes[:, at[1]].astype(int).T.tolist(),
            zip(*grid.pieces[:, at[1]].astype(int).tolist(), strict=True),
            self._crossing[:, *at].T.tolist(),
            zip(*[row[at].tolist() for row in self._bounds], strict=True),
            self._moved[:, *at].T.tolist(),
            strict=True,
        )
        return [
            Option(
                number=number,
                tile=StageTile(self._places[number].orders[order], m, n, k, tuple(crossing)),
                bound=bound,
                inside=Task(self._tasks[number].search, pieces, moved),
            )
            for number, order, (m, n, k), pieces, crossing, bound, moved in columns
        ]

    def least(self) -> tuple[np.ndarray, np.ndarray]:
        """Return order and number of the least tile of every task that has any."""
        owner, most = self._grid.owner, self._merits[0]
        order, tile = np.nonzero(most == _least_of_each(most, owner))
        sorted_by_owner = np.argsort(owner[tile], kind="stable")
        order, tile = order[sorted_by_owner], tile[sorted_by_owner]
        for row in self._merits[1:]:
            left = row[order, tile]
            equal = left == _least_of_each(left[None], owner[tile])
            order, tile = order[equal], tile[equal]
        starts = _starts(owner[tile])
        return order[starts], tile[starts]

    def below(
        self, best: Mapping[int, Merit], *, but: tuple[np.ndarray, np.ndarray]
    ) -> dict[int, list[tuple[int, int]]]:
        """Return by task order and number of the tiles whose bound is below the best, the least one first.

        ``best`` lacks tasks that need no other tile. ``but`` are those that are done; a tile that is not cut
        is the same in every order.
        """
        owner, done = self._grid.owner, set(zip(*map(np.ndarray.tolist, but), strict=True))
        limits = np.full((len(self._bounds), len(self._tasks)), -np.inf)
        limits[:, list(best)] = np.array(list(best.values())).reshape(-1, len(self._bounds)).T
        order, tile = np.nonzero((self._bounds[0] <= limits[0][owner]) & self._grid.cut)
        less = []
        for row, limit in zip(self._bounds, limits, strict=True):
            left, most = row[order, tile], limit[owner[tile]]
            less.append(np.stack([order, tile])[:, left < most])
            order, tile = order[left == most], tile[left == most]
        order, tile = np.concatenate(less, axis=1)
        least_first = np.lexsort((tile, order, *[row[order, tile] for row in self._merits[::-1]]))
        waiting = defaultdict(list)
        for place in zip(order[least_first].tolist(), tile[least_first].tolist(), strict=True):
            if place not in done:
                waiting[int(owner[place[1]])].append(place)
        return waiting

    def _cross(self, index: int, times: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """Add what crosses the links of stage ``index``, which counts at both ends, to the bytes ``moved``.

        Return it by operand, ``[operands, orders, tiles]``; sums in both directions. All pieces of m together
        read ``reads``; the last visit of the sums leaves as the output and does not count.
        """
        owner, reads, tasks = self._grid.owner, self._grid.reads, self._tasks
        sizes, ends = _link_arrays([task.search.stages[index] for task in tasks], len(moved))
        positions = np.array([task.search.problem.a_positions for task in tasks], np.float64)
        a, w, sums = sizes[:, owner]
        crossing = np.stack(
            [a * reads / positions[owner] * times[0], w * times[1], 2 * sums * (times[2] - 1)]
        )
        for bytes_of, ends_of in zip(crossing, ends, strict=True):
            for level, ends_here in enumerate(ends_of):
                if ends_here.any():
                    moved[level] += bytes_of * ends_here[owner]
        return crossing


def _link_arrays(stages: Sequence[Stage], levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of every stage's links by operand, ``[operands, stages]``, and where they end.

    That is 1 at both ends, else 0, ``[operands, levels, stages]``.
    """
    sizes = np.zeros((len(OPERANDS), len(stages)))
    ends = np.zeros((len(OPERANDS), levels, len(stages)))
    for number, stage in enumerate(stages):
        for link in stage.links:
            operand = OPERANDS.index(link.operand)
            sizes[operand, number] = link.size_bytes
            ends[operand, link.source, number] = ends[operand, link.target, number] = 1
    return sizes, ends


def _starts(owner: np.ndarray) -> np.ndarray:
    """Return where each row of equal numbers starts."""
    return np.flatnonzero(np.diff(owner, prepend=-1))


def _least_of_each(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return for ``values``, ``[orders, tiles]``, the least one that has the same owner, ``[tiles]``."""
    starts = _starts(owner)
    least = np.minimum.reduceat(values, starts, axis=1).min(axis=0)
    return np.repeat(least, np.diff(starts, append=len(owner)))
