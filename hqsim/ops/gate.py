"""Gated activations ``x * g(x)`` with ``g(-x) = 1 - g(x)``: SiLU and both forms of GELU.

Codes of up to 12 bits: a full table per layer, ``T[q] = clamp(rhu(x g(x) / s_out))``, exact by construction.
Wider codes: 513 entries of ``1 - g(|x|)``, linearly interpolated. The address is ``|x|`` in unsigned Q4.12
(9 bits of entry, 7 of interpolation); one product with the code and one rounding. That table does not depend
on the layer.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from hqsim.numerics import dyadic, round_half_up, shift_round_half_up
from hqsim.ops.base import Operator, exact_clamp, scalar
from hqsim.ops.layout import as_it_lies, in_runs

TABLE_BITS = 20
FULL_TABLE_BITS = 12
"""Widest codes that get a full table."""


class Gate(Operator):
    """Base of the gated activations; a subclass gives ``complement`` and the torch form."""

    vector_kind = "activation"

    @staticmethod
    def complement(x: np.ndarray) -> np.ndarray:
        """Return ``1 - g(x)`` of float64 ``x >= 0``."""
        raise NotImplementedError

    @classmethod
    @cache
    def knots(cls) -> np.ndarray:
        """Return ``1 - g(i / 32)`` for i = 0..512 in 20 fractional bits, int64."""
        return round_half_up(cls.complement(np.arange(513) / 32.0) * 2.0**TABLE_BITS)

    def prepare(self, node, preparation):
        """The full table, or two factors: code to table address, product to output code."""
        (source,), target = preparation.inputs(node), preparation.output(node)
        if source.bits <= FULL_TABLE_BITS:
            x = np.arange(source.low, source.high + 1) * source.scale
            small = self.complement(np.abs(x))
            return {"table": target.encode(x * np.where(x < 0, small, 1.0 - small))}
        address = dyadic(source.scale * 4096.0, what=f"{node.name} (table address)")
        factor = dyadic(source.scale / target.scale / 2.0 ** (TABLE_BITS + 7), what=node.name)
        return {
            "address_multiplier": address.multiplier.reshape(1),
            "address_shift": address.shift.reshape(1),
            "multiplier": factor.multiplier.reshape(1),
            "shift": factor.shift.reshape(1),
            "limits": np.array([target.low, target.high]),
        }

    def pack(self, node, arrays):
        """Return ``entries`` int32, one for every code: twice the result, plus one where it saturates.

        The full table, or kernel ``gate`` evaluated once for all codes.
        """
        if "table" in arrays:
            return {"entries": 2 * arrays["table"].astype(np.int32)}
        from hqsim.kernels.lut import gate

        low, high = arrays["limits"].tolist()
        results = np.empty(1 << 16, np.int32)
        gate(
            np.arange(-(1 << 15), 1 << 15).astype(np.int16),
            self.knots(),
            np.int64(TABLE_BITS),
            scalar(arrays["address_multiplier"]),
            scalar(arrays["address_shift"]),
            scalar(arrays["multiplier"]),
            scalar(arrays["shift"]),
            np.int64(low - 1),
            np.int64(high + 1),
            results,
        )
        codes = np.clip(results, low, high)
        return {"entries": 2 * codes + (codes != results)}

    def integer(self, node, arrays, inputs, output):
        """Kernel ``look_up``."""
        from hqsim.kernels.rescale import look_up

        entries = (arrays if "entries" in arrays else self.pack(node, arrays))["entries"]
        x, order = as_it_lies(inputs[0])
        codes = np.empty(x.shape, output.dtype)
        first = np.int32(-(len(entries) // 2))
        saturated = look_up(*in_runs(x), first, entries, codes.reshape(-1))
        return codes.transpose(order), int(saturated)

    def exact(self, node, arrays, inputs, output):
        """Plain indexing: of the full table, or of the gate of every possible address."""
        x = inputs[0].astype(np.int64)
        if "table" in arrays:
            return arrays["table"][x + len(arrays["table"]) // 2], 0
        knots, part = np.divmod(np.arange(1 << 16), 128)
        table = self.knots()
        complement = table[knots] * (128 - part) + table[knots + 1] * part
        address = shift_round_half_up(np.abs(x) * arrays["address_multiplier"][0], arrays["address_shift"][0])
        small = complement[np.minimum(address, (1 << 16) - 1)]
        weight = np.where(x < 0, small, 2 ** (TABLE_BITS + 7) - small)
        return exact_clamp(
            shift_round_half_up(x * weight * arrays["multiplier"][0], arrays["shift"][0]), output
        )

    def record(self, node, context):
        """One activation per element and the knots, or one read of the full table."""
        bits, output = context.uses[node.inputs[0]].bits, context.uses[node.name]
        if bits <= FULL_TABLE_BITS:
            size = 2.0**bits * output.bits / 8
            vector = {"table": output.elements}
            return self.vector_record(
                node, context, vector=vector, table_bytes=size, table_bytes_all_steps=size
            )
        size = 513 * 3.0
        return self.vector_record(node, context, table_bytes=size, table_bytes_all_steps=size)
