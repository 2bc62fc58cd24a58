"""Tensor cores of a GPU: output tiles on multiprocessors, in waves.

One multiprocessor works on one output tile ``tm`` x ``tn`` at a time, in steps of ``tile_k``, one of
which fills its pipeline. It cannot multiply faster than both operands of the tile arrive from L2:

    waves  = ceil(count * ceil(M / tm) * ceil(N / tn) / units)
    depth  = (ceil(K / tile_k) + 1) * tile_k
    cycles = waves * depth * max(tm * tn, macs_per_word * (tm + tn)) / (macs_per_cycle * rate)

The waves are the quantisation that NVIDIA's matrix multiplication guide describes. The balance is the same
for narrower words, which are as much shorter as their rate is higher. Libraries choose among tiles whose
sides are powers of two; here the tile of fewest cycles, on a tie the one that reads the fewest words, no
larger than ``tile_m * tile_n`` and with sides from 64 to the longer of the two.
"""

from __future__ import annotations

from functools import cache
from math import ceil

from hqsim.cost.geometry import TensorCore
from hqsim.cost.units.run import UnitRun
from hqsim.graph.record import MatrixWork

SHORTEST_SIDE = 64


@cache
def tile_shapes(tile_m: int, tile_n: int) -> tuple[tuple[int, int], ...]:
    """Return the tiles to choose from: the largest one, and halvings of its longer side on both axes."""
    longest = max(tile_m, tile_n)
    sides = [longest >> times for times in range(longest.bit_length()) if longest >> times >= SHORTEST_SIDE]
    shapes = {(m, n) for m in sides for n in sides if m * n <= tile_m * tile_n}
    return tuple(sorted(shapes | {(tile_m, tile_n)}))


def run_tensor_core(geometry: TensorCore, work: MatrixWork, *, rate: float) -> UnitRun:
    """Run a layer's products with the best tile; a fold is one output tile."""
    shapes = tile_shapes(geometry.tile_m, geometry.tile_n)
    cycles, _, tile_m, tile_n = min([(*_merit(geometry, work, rate, *shape), *shape) for shape in shapes])
    row_tiles, col_tiles = _tiles(work, tile_m, tile_n)
    tiles = row_tiles * col_tiles * work.count
    sums = work.m * work.n * work.count
    step = min(geometry.tile_k, work.k)
    return UnitRun(
        label="tensor_core",
        cycles=cycles,
        folds=tiles,
        utilization=work.macs / (cycles * geometry.cells * rate),
        mapping_efficiency=sums / (tiles * tile_m * tile_n),
        a_reads=work.m * work.k * work.count * col_tiles,
        w_reads=work.n * work.k * work.count * row_tiles,
        sum_writes=sums,
        sum_reads=sums,
        first_a_words=min(tile_m, work.m) * step,
        first_w_words=min(tile_n, work.n) * step,
    )


def _tiles(work: MatrixWork, tile_m: int, tile_n: int) -> tuple[int, int]:
    return -(-work.m // tile_m), -(-work.n // tile_n)


def _merit(geometry: TensorCore, work: MatrixWork, rate: float, tile_m: int, tile_n: int) -> tuple[int, int]:
    """Return the cycles of a tile, and the words of an element of k that both operands read for a product."""
    row_tiles, col_tiles = _tiles(work, tile_m, tile_n)
    waves = -(-row_tiles * col_tiles * work.count // geometry.units)
    depth = (-(-work.k // geometry.tile_k) + 1) * geometry.tile_k
    work_per_step = max(tile_m * tile_n, geometry.macs_per_word * (tile_m + tile_n))
    cycles = ceil(waves * depth * work_per_step / (geometry.macs_per_cycle * rate))
    return cycles, work.m * col_tiles + work.n * row_tiles
