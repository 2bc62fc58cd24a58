"""Bit operations of a model: what its products cost, whoever builds the multipliers.

A multiply-accumulate of an ``a``-bit by a ``w``-bit operand counts ``a * w`` bit operations (Baskin et al.,
"UNIQ", 2018, without the accumulator's share). The bits are those that the multiplier sees: under a single
Hadamard transform more than are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hqsim.graph import LayerRecord


@dataclass(frozen=True, kw_only=True)
class BitOperations:
    """Of one evaluation of the model.

    ``multiplier_bits`` is the activation operand of most multiply-accumulates, ``widest_bits`` that of any
    layer, ``widest_layers`` who has it; ``butterfly_adds`` the additions of the transforms beside.
    """

    bit_operations: int
    stored_bit_operations: int
    multiplier_bits: int
    widest_bits: int
    widest_layers: tuple[str, ...]
    butterfly_adds: int


def bit_operations(records: Sequence[LayerRecord]) -> BitOperations:
    """Sum up layer records; ``stored_bit_operations`` takes stored widths in place of the multiplier's."""
    products = [(record, record.matrix) for record in records if record.matrix is not None]
    macs: dict[int, int] = {}
    for _, work in products:
        macs[work.a_multiplier_bits] = macs.get(work.a_multiplier_bits, 0) + work.macs
    widest = max(macs)
    return BitOperations(
        bit_operations=sum(w.macs * w.a_multiplier_bits * w.w_multiplier_bits for _, w in products),
        stored_bit_operations=sum(w.macs * w.a_storage_bits * w.w_storage_bits for _, w in products),
        multiplier_bits=max(macs, key=lambda bits: macs[bits]),
        widest_bits=widest,
        widest_layers=tuple(r.name for r, work in products if work.a_multiplier_bits == widest),
        butterfly_adds=sum(part.butterfly_adds for record in records for part in record.hadamard),
    )
