"""Closed forms of a systolic array: folds, cycles, efficiency and on-chip words.

With ``(Sr, Sc, T)`` = OS ``(M, N, K)``, WS ``(K, N, M)``, IS ``(K, M, N)`` on ``r`` x ``c`` cells,
``F = ceil(Sr / r) * ceil(Sc / c)`` folds take ``T + r + c - 2`` cycles each (OS) or
``T + 2 r + c - 2`` (WS, IS: the stationary operand is loaded first). These are SCALE-Sim's cycles
(Samajdar et al., ISPASS 2020), which hold on every run of it that was tried.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def _run(m: int, n: int, k: int, *, rows: int, cols: int, dataflow: str, count: int, arrays: int) -> ArrayRun:
    spatial_rows, spatial_cols, stream = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
    row_folds = -(-spatial_rows // rows)
    col_folds = -(-spatial_cols // cols)
    load = rows if dataflow != "os" else 0
    fold_cycles = stream + load + rows + cols - 2
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
        utilization=m * n * k * count / (cycles * rows * cols * arrays),
        a_reads=m * k * count * a_times,
        w_reads=n * k * count * w_times,
        partial_sum_writes=m * n * count * sum_times,
    )


def systolic_run(
    m: int, n: int, k: int, *, rows: int, cols: int, dataflow: str, count: int = 1, arrays: int = 1
) -> ArrayRun:
    """Run ``count`` products of ``[m, k] x [k, n]``.

    ``dataflow`` is ``os``, ``ws``, ``is`` or ``best`` (fewest cycles; the first of these on a tie).
    Folds are independent, so several arrays share all folds of the layer: ``ceil(folds / arrays)``
    folds in a row.
    """
    choices = DATAFLOWS if dataflow == "best" else (dataflow,)
    runs = [
        _run(m, n, k, rows=rows, cols=cols, dataflow=choice, count=count, arrays=arrays) for choice in choices
    ]
    return min(runs, key=lambda run: run.cycles)
