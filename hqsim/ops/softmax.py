"""Softmax in integers: ``d = max - q``, two exponential tables, one exact division per probability."""

from __future__ import annotations

import numpy as np

from hqsim.numerics import Format, round_half_up, shift_round_half_up
from hqsim.ops.base import Operator

TABLE_BITS = 24
PROBABILITY_BITS = 16


class Softmax(Operator):
    """Along the last axis; probabilities are unsigned 16-bit codes of scale 2**-16."""

    name = "softmax"
    vector_kind = "softmax"

    def evaluate(self, node, inputs, parameters):
        """Torch softmax."""
        return inputs[0].softmax(-1)

    def output_format(self, node, inputs, carrier):
        """Unsigned, fixed scale."""
        return Format(bits=PROBABILITY_BITS, scales=(2.0**-PROBABILITY_BITS,), signed=False)

    def prepare(self, node, preparation):
        """``exp(-s d)`` split into the high and the low half of the distance ``d``."""
        (source,) = preparation.inputs(node)
        low_bits = source.bits // 2
        low = np.arange(1 << low_bits)
        high = np.arange(1 << (source.bits - low_bits)) * 2.0**low_bits
        return {
            "high_table": round_half_up(np.exp(-source.scale * high) * 2.0**TABLE_BITS),
            "low_table": round_half_up(np.exp(-source.scale * low) * 2.0**TABLE_BITS),
            "low_bits": np.array([low_bits], np.int64),
        }

    def pack(self, node, arrays):
        """Both tables as one, an entry per distance (kernel ``exponentials``)."""
        from hqsim.kernels.softmax import exponentials

        high, low = arrays["high_table"], arrays["low_table"]
        table = np.empty(len(high) * len(low), np.int32)
        exponentials(high, low, arrays["low_bits"][0], table)
        return {"table": table}

    def integer(self, node, arrays, inputs, output):
        """Kernel ``softmax``."""
        from hqsim.kernels.softmax import softmax

        table = arrays["table"] if "table" in arrays else self.pack(node, arrays)["table"]
        x = np.ascontiguousarray(inputs[0])
        codes = np.empty(x.shape, output.dtype)
        rows = (-1, x.shape[-1])
        saturated = softmax(x.reshape(rows), table, np.int64(output.bits), codes.reshape(rows))
        return codes, int(saturated)

    def exact(self, node, arrays, inputs, output):
        """Plain int64 on whole rows."""
        x = inputs[0].astype(np.int64)
        distance = x.max(axis=-1, keepdims=True) - x
        high, low = np.divmod(distance, len(arrays["low_table"]))
        e = shift_round_half_up(arrays["high_table"][high] * arrays["low_table"][low], TABLE_BITS)
        total = e.sum(axis=-1, keepdims=True)
        p = np.floor_divide(e * 2 ** (output.bits + 1) + total, 2 * total)
        return np.minimum(p, output.high).astype(output.dtype), int(np.count_nonzero(p > output.high))

    def record(self, node, context):
        """One softmax operation per element and both tables."""
        size = 2 * 256 * 3.0
        return self.vector_record(node, context, table_bytes=size, table_bytes_all_steps=size)
