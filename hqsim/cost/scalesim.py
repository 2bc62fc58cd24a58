"""Compatibility mode: the figures that SCALE-Sim 3.0.0 prints, its known faults included."""

from __future__ import annotations

from dataclasses import dataclass

from hqsim.cost.units.systolic import DATAFLOWS, systolic_run
from hqsim.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ScalesimReport:
    """One line of SCALE-Sim's reports; names as in ``tests/data/scalesim_*.csv``, percentages from 0 to 100.

    ``demand_rows`` is the number of cycles in its demand trace, the bandwidths are words per cycle.
    """

    total_cycles: int
    demand_rows: int
    overall_util_pct: float
    mapping_eff_pct: float
    compute_util_pct: float
    avg_ifmap_sram_bw: float
    avg_filter_sram_bw: float
    avg_ofmap_sram_bw: float
    sram_ifmap_accesses: int
    sram_filter_accesses: int
    sram_ofmap_accesses: int


def scalesim_report(m: int, n: int, k: int, *, rows: int, cols: int, dataflow: str) -> ScalesimReport:
    """Return what SCALE-Sim 3.0.0 reports for ``[m, k] x [k, n]`` on a ``rows`` x ``cols`` array.

    It differs from :func:`hqsim.cost.systolic_run` in three ways, kept here on purpose:

    - the cycle count is the index of the last cycle, one less than the number of cycles;
    - OS counts ``folds * (rows + cols)`` output words that are never written;
    - the compute utilisation of WS and IS divides by folds that are ``cols - 1`` cycles too long
      (the skew of the columns is added twice).

    Raises
    ------
    InputError
        For a size below 1, an unknown dataflow, or a product that takes a single cycle (SCALE-Sim
        then divides by zero).
    """
    sizes = {"m": m, "n": n, "k": k, "rows": rows, "cols": cols}
    for name, size in sizes.items():
        if size < 1:
            raise InputError(f"scalesim_report: {name} must be at least 1, got {size}.")
    if dataflow not in DATAFLOWS:
        raise InputError(
            f"scalesim_report: dataflow must be one of {', '.join(DATAFLOWS)}, got '{dataflow}'."
        )
    run = systolic_run(m, n, k, rows=rows, cols=cols, dataflow=dataflow)
    if run.cycles == 1:
        raise InputError(
            "scalesim_report: the product takes one cycle, for which SCALE-Sim reports 0 cycles and no "
            "utilisation; use a larger product or array."
        )
    cells = rows * cols
    output_stationary = dataflow == "os"
    compute_cycles = run.cycles if output_stationary else run.folds * (run.fold_cycles + cols - 1)
    total_cycles = run.cycles - 1
    ofmap = run.partial_sum_writes + (run.folds * (rows + cols) if output_stationary else 0)
    return ScalesimReport(
        total_cycles=total_cycles,
        demand_rows=run.cycles,
        overall_util_pct=100 * m * n * k / (total_cycles * cells),
        mapping_eff_pct=100 * run.mapping_efficiency,
        compute_util_pct=100 * m * n * k / (compute_cycles * cells),
        avg_ifmap_sram_bw=run.a_reads / total_cycles,
        avg_filter_sram_bw=run.w_reads / total_cycles,
        avg_ofmap_sram_bw=ofmap / total_cycles,
        sram_ifmap_accesses=run.a_reads,
        sram_filter_accesses=run.w_reads,
        sram_ofmap_accesses=ofmap,
    )
