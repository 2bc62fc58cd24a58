"""What every kind of matrix unit tells about a product."""

from __future__ import annotations

from typing import NamedTuple


class UnitRun(NamedTuple):
    """All products of a layer on one matrix unit, one pass of its multipliers.

    ``label`` is the dataflow (``os``, ``ws``, ``is``) or the schedule of the unit. ``cycles`` are those
    at the rate of the multiplier mode. ``utilization`` is MACs over peak MACs at that rate,
    ``mapping_efficiency`` the same with the time to fill and drain left out. Words count accesses of
    the memory at the unit: ``sum_reads`` reads a written sum again, to go on accumulating or to requantize
    it. ``first_a_words`` and ``first_w_words`` must have arrived before the first fold starts.
    """

    label: str
    cycles: int
    folds: int
    utilization: float
    mapping_efficiency: float
    a_reads: int
    w_reads: int
    sum_writes: int
    sum_reads: int
    first_a_words: int
    first_w_words: int
