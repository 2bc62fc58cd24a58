"""A matrix product on one of the machine's units."""

from __future__ import annotations

from dataclasses import dataclass

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
