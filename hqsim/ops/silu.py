"""SiLU of 16-bit codes: ``x * σ(x)`` with a 513-entry table of ``1 - σ(|x|)``, linearly interpolated.

The address is ``|x|`` in unsigned Q4.12 (9 bits of entry, 7 of interpolation); one product with the code and
one rounding. The table does not depend on the layer.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from hqsim.numerics import dyadic, round_half_up, shift_round_half_up
from hqsim.ops.base import Operator, exact_clamp, scalar

TABLE_BITS = 20


@cache
def sigmoid_complement_table() -> np.ndarray:
    """Return ``1 - σ(i / 32)`` for i = 0..512 in 20 fractional bits, int64."""
    return round_half_up(1.0 / (1.0 + np.exp(np.arange(513) / 32.0)) * 2.0**TABLE_BITS)


class SiLU(Operator):
    """``x * sigmoid(x)``."""

    name = "silu"
    vector_kind = "activation"

    def evaluate(self, node, inputs, parameters):
        """Torch silu."""
        from torch.nn.functional import silu

        return silu(inputs[0])

    def prepare(self, node, preparation):
        """Two factors: code to table address, product to output code."""
        (source,), target = preparation.inputs(node), preparation.output(node)
        address = dyadic(source.scale * 4096.0, what=f"{node.name} (table address)")
        factor = dyadic(source.scale / target.scale / 2.0 ** (TABLE_BITS + 7), what=node.name)
        return {
            "address_multiplier": address.multiplier.reshape(1),
            "address_shift": address.shift.reshape(1),
            "multiplier": factor.multiplier.reshape(1),
            "shift": factor.shift.reshape(1),
        }

    def integer(self, node, arrays, inputs, output):
        """Kernel ``gate``."""
        from hqsim.kernels.lut import gate

        codes = np.empty(inputs[0].shape, output.dtype)
        saturated = gate(
            np.ascontiguousarray(inputs[0]).reshape(-1),
            sigmoid_complement_table(),
            np.int64(TABLE_BITS),
            scalar(arrays["address_multiplier"]),
            scalar(arrays["address_shift"]),
            scalar(arrays["multiplier"]),
            scalar(arrays["shift"]),
            np.int64(output.low),
            np.int64(output.high),
            codes.reshape(-1),
        )
        return codes, int(saturated)

    def exact(self, node, arrays, inputs, output):
        """The gate of every possible address first, then plain indexing."""
        x = inputs[0].astype(np.int64)
        knots, part = np.divmod(np.arange(1 << 16), 128)
        table = sigmoid_complement_table()
        complement = table[knots] * (128 - part) + table[knots + 1] * part
        address = shift_round_half_up(np.abs(x) * arrays["address_multiplier"][0], arrays["address_shift"][0])
        small = complement[np.minimum(address, (1 << 16) - 1)]
        weight = np.where(x < 0, small, 2 ** (TABLE_BITS + 7) - small)
        return exact_clamp(
            shift_round_half_up(x * weight * arrays["multiplier"][0], arrays["shift"][0]), output
        )

    def record(self, node, context):
        """One activation per element and the table."""
        return replace(
            self.vector_record(node, context), table_bytes=513 * 3.0, table_bytes_all_steps=513 * 3.0
        )
