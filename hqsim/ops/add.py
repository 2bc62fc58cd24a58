"""Sum of two carriers with one shared shift and one rounding: ``clamp(rhu(q1 M1 + q2 M2, s))``."""

from __future__ import annotations

import math

import numpy as np

from hqsim.numerics import round_half_up, shift_round_half_up
from hqsim.ops.base import Operator, exact_clamp, scalar
from hqsim.ops.layout import as_they_lie, paired_views


def weighted_sum_arrays(ratio_a: float, ratio_b: float, bits: int = 15) -> dict[str, np.ndarray]:
    """Return ``multiplier_a``, ``multiplier_b``, ``shift``: the larger factor fills ``bits`` bits."""
    largest = max(abs(ratio_a), abs(ratio_b))
    shift = bits - (math.floor(math.log2(largest)) + 1)
    return {
        "multiplier_a": round_half_up([ratio_a * 2.0**shift]),
        "multiplier_b": round_half_up([ratio_b * 2.0**shift]),
        "shift": np.array([shift], np.int64),
    }


def weighted_sum_integer(a, b, arrays, output):
    """Kernel ``add_rescaled``, or ``add_broadcast`` where ``b`` is repeated."""
    from hqsim.kernels.broadcast import add_broadcast
    from hqsim.kernels.rescale import add_rescaled

    parameters = (
        scalar(arrays["multiplier_a"]),
        scalar(arrays["multiplier_b"]),
        scalar(arrays["shift"]),
        np.int64(output.low),
        np.int64(output.high),
    )
    if a.shape != b.shape:
        first, second, codes, flat = paired_views(a, b, output.dtype)
        return codes, int(add_broadcast(first, second, *parameters, flat))
    a, b, order = as_they_lie(a, b)
    codes = np.empty(a.shape, output.dtype)
    sides = (np.ascontiguousarray(side).reshape(-1) for side in (a, b))
    saturated = add_rescaled(*sides, *parameters, codes.reshape(-1))
    return codes.transpose(order), int(saturated)


def weighted_sum_exact(a, b, arrays, output):
    """Plain int64 with numpy broadcasting."""
    total = a.astype(np.int64) * arrays["multiplier_a"][0] + b.astype(np.int64) * arrays["multiplier_b"][0]
    return exact_clamp(shift_round_half_up(total, arrays["shift"][0]), output)


class Add(Operator):
    """Residual add, or the add of a repeated vector: ``[c, 1, 1]`` over pixels, ``[1, c]`` over tokens."""

    name = "add"
    vector_kind = "add"

    def shape(self, node, inputs):
        """The first input's shape; the second broadcasts to it."""
        return inputs[0]

    def evaluate(self, node, inputs, parameters):
        """Torch add."""
        return inputs[0] + inputs[1]

    def prepare(self, node, preparation):
        """``s_1 / s_out`` and ``s_2 / s_out`` over one shift."""
        a, b = preparation.inputs(node)
        out = preparation.output(node).scale
        return weighted_sum_arrays(a.scale / out, b.scale / out)

    def integer(self, node, arrays, inputs, output):
        """Kernel ``add_rescaled``."""
        return weighted_sum_integer(inputs[0], inputs[1], arrays, output)

    def exact(self, node, arrays, inputs, output):
        """Plain int64."""
        return weighted_sum_exact(inputs[0], inputs[1], arrays, output)
