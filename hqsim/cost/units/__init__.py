"""Matrix units: one file per kind, one entry for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hqsim.cost.geometry import BitComposable, DotProduct, RowStationary, Systolic
from hqsim.cost.units.bit_composable import run_bit_composable
from hqsim.cost.units.dot_product import run_dot_product
from hqsim.cost.units.row_stationary import run_row_stationary
from hqsim.cost.units.run import UnitRun
from hqsim.cost.units.systolic import run_systolic
from hqsim.cost.units.tensor_core import run_tensor_core
from hqsim.errors import InputError

if TYPE_CHECKING:
    from hqsim.cost.machine import MatrixUnit
    from hqsim.cost.widths import MultiplierMode
    from hqsim.graph.record import MatrixWork

__all__ = ["UnitRun", "run_unit"]


def run_unit(
    unit: MatrixUnit, work: MatrixWork, mode: MultiplierMode, *, dataflow: str | None = None
) -> UnitRun:
    """Return one pass of all products of ``work`` on ``unit`` with the multipliers of ``mode``.

    ``dataflow`` forces ``os``, ``ws`` or ``is`` on a systolic unit; None leaves the unit's own choice.

    Raises
    ------
    InputError
        For an unknown dataflow, or one that is asked of a unit of another kind.
    UnsupportedError
        For a kernel that a row-stationary unit cannot hold.
    """
    geometry = unit.geometry
    if isinstance(geometry, Systolic):
        return run_systolic(geometry, work, rate=mode.rate, dataflow=dataflow)
    if dataflow is not None:
        raise InputError(
            f"matrix unit '{unit.name}' is no systolic array and has no dataflow '{dataflow}'; "
            "leave the dataflow out."
        )
    if isinstance(geometry, RowStationary):
        return run_row_stationary(geometry, work, rate=mode.rate)
    if isinstance(geometry, BitComposable):
        return run_bit_composable(geometry, work, rate=mode.rate)
    if isinstance(geometry, DotProduct):
        return run_dot_product(geometry, work, rate=mode.rate)
    return run_tensor_core(geometry, work, rate=mode.rate)
