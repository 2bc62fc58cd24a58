"""A matrix product on one of the machine's units."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hqsim.cost.geometry import BitComposable, DotProduct, Systolic
from hqsim.cost.machine import MatrixUnit
from hqsim.cost.units import UnitRun, run_unit
from hqsim.cost.widths import MultiplierMode, multiplier_modes
from hqsim.graph.record import MatrixWork


@dataclass(frozen=True, kw_only=True)
class MatrixRun:
    """A product on ``unit``: one pass of it, and the multiplier that says how many passes it takes."""

    unit: MatrixUnit
    run: UnitRun
    mode: MultiplierMode

    @property
    def cycles(self) -> int:
        """Cycles of all passes."""
        return self.run.cycles * self.mode.passes

    @property
    def dataflow(self) -> str | None:
        """Dataflow of a systolic array, None on another unit."""
        return self.run.label if isinstance(self.unit.geometry, Systolic) else None


def matrix_run(unit: MatrixUnit, work: MatrixWork, *, layer: str, dataflow: str | None = None) -> MatrixRun:
    """Return ``work`` on ``unit`` with the multipliers that take the fewest cycles, then the fewest passes.

    ``dataflow`` is for a systolic unit.

    Raises
    ------
    UnsupportedError
        For operand widths that the unit's multipliers do not cover.
    InputError
        For a ``dataflow`` that the unit does not have.
    """
    modes = multiplier_modes(unit, a_bits=work.a_multiplier_bits, w_bits=work.w_multiplier_bits, layer=layer)
    runs = [
        MatrixRun(unit=unit, run=run_unit(unit, work, mode, dataflow=dataflow), mode=mode) for mode in modes
    ]
    return min(runs, key=lambda run: run.cycles)


def more_rows(run: MatrixRun, work: MatrixWork, rows: int) -> MatrixRun | None:
    """Return what ``rows`` more of ``work``, behind its own and with the same weights, add to its ``run``.

    None on a unit that chooses its blocks anew for another number of rows.
    """
    unit, mode = run.unit, run.mode
    if not isinstance(unit.geometry, Systolic | BitComposable | DotProduct):
        return None
    longer = run_unit(unit, replace(work, m=work.m + rows), mode, dataflow=run.dataflow)
    counts = ("cycles", "folds", "a_reads", "w_reads", "sum_writes", "sum_reads")
    added = {name: getattr(longer, name) - getattr(run.run, name) for name in counts}
    return MatrixRun(unit=unit, run=longer._replace(**added), mode=mode)
