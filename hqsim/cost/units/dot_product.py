"""Dot-product engines: ``m`` x ``n`` sums that grow by ``k`` products per cycle and unit.

    blocks = ceil(M / m) * ceil(N / n) * count
    cycles = ceil(blocks / units) * ceil(K / (k * rate))              rate above 1: more products per step
           = ceil(blocks / units) * ceil(ceil(K / k) / rate)          below 1: longer steps

A block's sums stay in accumulators until K is complete, so A is read ``ceil(N / n)`` times, W ``ceil(M / m)``
times, and every sum is written once. Vector units of CPUs and the MAC engines of small NPUs have this form
(Arm Ethos-U: output block x dot product).
"""

from __future__ import annotations

from math import ceil

from hqsim.cost.geometry import DotProduct
from hqsim.cost.units.run import UnitRun
from hqsim.graph.record import MatrixWork


def run_dot_product(geometry: DotProduct, work: MatrixWork, *, rate: float) -> UnitRun:
    """Run a layer's products; a fold is one block of ``m`` x ``n`` sums."""
    row_blocks = -(-work.m // geometry.m)
    col_blocks = -(-work.n // geometry.n)
    folds = row_blocks * col_blocks * work.count
    block_cycles = ceil(ceil(work.k / (geometry.k * max(rate, 1))) / min(rate, 1))
    cycles = -(-folds // geometry.units) * block_cycles
    sums = work.m * work.n * work.count
    depth = min(ceil(geometry.k * max(rate, 1)), work.k)
    return UnitRun(
        label="dot_product",
        cycles=cycles,
        folds=folds,
        utilization=work.macs / (cycles * geometry.cells * rate),
        mapping_efficiency=work.macs / (folds * block_cycles * geometry.m * geometry.n * geometry.k * rate),
        a_reads=work.m * work.k * work.count * col_blocks,
        w_reads=work.n * work.k * work.count * row_blocks,
        sum_writes=sums,
        sum_reads=sums,
        first_a_words=min(geometry.m, work.m) * depth,
        first_w_words=min(geometry.n, work.n) * depth,
    )
