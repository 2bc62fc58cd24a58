"""Addition of a constant, one rescale: ``clamp(rhu(q M + (T << (s - f)), s))``, ``M * 2**-s = s_in / s_out``.

The constant is a number (``1 + scale`` of an adaptive norm) or a table (a positional embedding); ``T`` counts
``2**-f`` of an output code, ``f = min(8, s)``. ``s`` is at most 40: a smaller factor moves no output code.
"""

from __future__ import annotations

import numpy as np

from hqsim.errors import NumericsError
from hqsim.numerics import dyadic, round_half_up, shift_round_half_up
from hqsim.ops.base import Operator, exact_clamp, scalar
from hqsim.ops.layout import in_memory_order

FRACTION_BITS = 8
LARGEST_SHIFT = 40
LARGEST_BITS = 61


class Offset(Operator):
    """``x + value``, or ``x + table`` with a parameter of the model in the shape of one sample."""

    name = "offset"
    vector_kind = "rescale"

    def evaluate(self, node, inputs, parameters):
        """Torch add."""
        if "table" in node.parameters:
            return inputs[0] + parameters[node.parameters["table"]].reshape(node.type.shape)
        return inputs[0] + node.attributes["value"]

    def prepare(self, node, preparation):
        """The factor; the constant in fractions of an output code, int64 ``[rows, inner]`` or ``[1, 1]``."""
        (source,), target = preparation.inputs(node), preparation.output(node)
        ratio = source.scale / target.scale
        shift = min(int(dyadic(ratio, what=node.name).shift), LARGEST_SHIFT)
        fraction = min(FRACTION_BITS, shift)
        real = np.full((1, 1), node.attributes.get("value", 0.0))
        if "table" in node.parameters:
            table = preparation.parameters[node.parameters["table"]]
            real = table.astype(np.float64).reshape(-1, node.type.shape[-1])
        constant = round_half_up(real / target.scale * 2.0**fraction)
        bits = int(np.abs(constant).max()).bit_length() + shift - fraction
        if bits > LARGEST_BITS:
            raise NumericsError(
                f"{node.name}: the constant needs {bits} bits, allowed {LARGEST_BITS}; it is too large "
                f"beside the output scale {target.scale:.3g}"
            )
        return {
            "multiplier": round_half_up([ratio * 2.0**shift]),
            "shift": np.array([shift], np.int64),
            "fraction": np.array([fraction], np.int64),
            "constant": constant,
        }

    def integer(self, node, arrays, inputs, output):
        """Kernel ``add_constant``."""
        from hqsim.kernels.broadcast import add_constant

        is_table = "table" in node.parameters
        x, order = in_memory_order(np.ascontiguousarray(inputs[0]) if is_table else inputs[0])
        constant = arrays["constant"] if is_table else np.repeat(arrays["constant"], x.shape[-1], axis=1)
        codes = np.empty(x.shape, output.dtype)
        saturated = add_constant(
            x.reshape(-1, x.shape[-1]),
            constant,
            scalar(arrays["multiplier"]),
            scalar(arrays["shift"]),
            scalar(arrays["fraction"]),
            np.int64(output.low),
            np.int64(output.high),
            codes.reshape(-1, x.shape[-1]),
        )
        return codes.transpose(order), int(saturated)

    def exact(self, node, arrays, inputs, output):
        """Plain int64 with numpy broadcasting."""
        shift, fraction = arrays["shift"][0], arrays["fraction"][0]
        x = inputs[0].astype(np.int64)
        constant = arrays["constant"] * 2 ** (shift - fraction)
        if "table" in node.parameters:
            constant = constant.reshape(node.type.shape)
        return exact_clamp(shift_round_half_up(x * arrays["multiplier"][0] + constant, shift), output)

    def record(self, node, context):
        """One rescale per element; a table of constants is read once per step."""
        size = 4.0 * (node.type.elements if "table" in node.parameters else 1)
        return self.vector_record(node, context, table_bytes=size, table_bytes_all_steps=size)
