"""Closed forms of a systolic array: folds, cycles, efficiency and on-chip words.

With ``(Sr, Sc, T)`` = OS ``(M, N, K)``, WS ``(K, N, M)``, IS ``(K, M, N)`` on ``r`` x ``c`` cells,
``F = ceil(Sr / r) * ceil(Sc / c)`` folds take ``T + r + c - 2`` cycles each (OS) or
``T + 2 r + c - 2`` (WS, IS: the stationary operand is loaded first). These are SCALE-Sim's cycles
(Samajdar et al., ISPASS 2020), which hold on every run of it that was tried. A cell of a rate ``p`` above
1 multiplies ``p`` pairs of the same sum per cycle, so that ``ceil(K / p)`` takes the place of ``K``; below 1
the operands stream at that rate, ``ceil(T / p)`` takes the place of ``T``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from hqsim.cost.geometry import Systolic
from hqsim.cost.units.run import UnitRun
from hqsim.errors import InputError
from hqsim.graph.record import MatrixWork

DATAFLOWS = ("os", "ws", "is")


@dataclass(frozen=True, kw_only=True)
class ArrayRun:
    """``count`` products ``[m, k] x [k, n]`` on ``arrays`` equal arrays.

    ``a_reads`` and ``w_reads`` are operand words read by the arrays, ``partial_sum_writes`` words
    written by them, all products together.
    """

    dataflow: str
    row_folds: int
    col_folds: int
    count: int
    fold_cycles: int
    cycles: int
    mapping_efficiency: float
    utilization: float
    a_reads: int
    w_reads: int
    partial_sum_writes: int

    @property
    def folds(self) -> int:
        """Folds of all products."""
        return self.row_folds * self.col_folds * self.count


def _run(
    m: int, n: int, k: int, *, rows: int, cols: int, dataflow: str, count: int, arrays: int, rate: float
) -> ArrayRun:
    depth = ceil(k / max(rate, 1))
    spatial_rows, spatial_cols, stream = {"os": (m, n, depth), "ws": (depth, n, m), "is": (depth, m, n)}[
        dataflow
    ]
    row_folds = -(-spatial_rows // rows)
    col_folds = -(-spatial_cols // cols)
    load = rows if dataflow != "os" else 0
    fold_cycles = ceil(stream / min(rate, 1)) + load + rows + cols - 2
    folds = row_folds * col_folds * count
    cycles = -(-folds // arrays) * fold_cycles
    a_times = {"os": col_folds, "ws": col_folds, "is": 1}[dataflow]
    w_times = {"os": row_folds, "ws": 1, "is": col_folds}[dataflow]
    sum_times = 1 if dataflow == "os" else row_folds
    return ArrayRun(
        dataflow=dataflow,
        row_folds=row_folds,
        col_folds=col_folds,
        count=count,
        fold_cycles=fold_cycles,
        cycles=cycles,
        mapping_efficiency=spatial_rows * spatial_cols / (row_folds * col_folds * rows * cols),
        utilization=m * n * k * count / (cycles * rows * cols * arrays * rate),
        a_reads=m * k * count * a_times,
        w_reads=n * k * count * w_times,
        partial_sum_writes=m * n * count * sum_times,
    )


def systolic_run(
    m: int,
    n: int,
    k: int,
    *,
    rows: int,
    cols: int,
    dataflow: str,
    count: int = 1,
    arrays: int = 1,
    rate: float = 1.0,
) -> ArrayRun:
    """Run ``count`` products of ``[m, k] x [k, n]``.

    ``dataflow`` is ``os``, ``ws``, ``is`` or ``best`` (fewest cycles; the first of these on a tie).
    Folds are independent, so several arrays share all folds of the layer: ``ceil(folds / arrays)``
    folds in a row. ``rate`` is MACs per cell and cycle.
    """
    choices = DATAFLOWS if dataflow == "best" else (dataflow,)
    runs = [
        _run(m, n, k, rows=rows, cols=cols, dataflow=choice, count=count, arrays=arrays, rate=rate)
        for choice in choices
    ]
    return min(runs, key=lambda run: run.cycles)


def run_systolic(geometry: Systolic, work: MatrixWork, *, rate: float, dataflow: str | None) -> UnitRun:
    """Run a layer's products; ``dataflow`` overrides the unit's own.

    The stationary operand of one fold must have arrived before the fold starts; for OS, which streams both
    operands, their first cells' worth.

    Raises
    ------
    InputError
        For an unknown dataflow.
    """
    if dataflow is not None and dataflow not in DATAFLOWS:
        raise InputError(f"dataflow must be one of {', '.join(DATAFLOWS)}, got '{dataflow}'.")
    run = systolic_run(
        work.m,
        work.n,
        work.k,
        rows=geometry.rows,
        cols=geometry.cols,
        dataflow=dataflow or geometry.dataflow,
        count=work.count,
        arrays=geometry.arrays,
        rate=rate,
    )
    held = min(ceil(geometry.rows * max(rate, 1)), work.k)
    first_a_words, first_w_words = {
        "os": (min(geometry.rows, work.m), min(geometry.cols, work.n)),
        "ws": (0, held * min(geometry.cols, work.n)),
        "is": (held * min(geometry.cols, work.m), 0),
    }[run.dataflow]
    return UnitRun(
        label=run.dataflow,
        cycles=run.cycles,
        folds=run.folds,
        utilization=run.utilization,
        mapping_efficiency=run.mapping_efficiency,
        a_reads=run.a_reads,
        w_reads=run.w_reads,
        sum_writes=run.partial_sum_writes,
        sum_reads=run.partial_sum_writes,
        first_a_words=first_a_words,
        first_w_words=first_w_words,
    )
