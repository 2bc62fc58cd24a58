"""Rescale: codes of one scale to codes of another, one rounding.

``y = clamp(round_half_up(x * M * 2**-s))`` with ``M * 2**-s = s_in / s_out``.
"""

from __future__ import annotations

import numpy as np

from hqsim.numerics import dyadic, shift_round_half_up
from hqsim.ops.base import Operator, exact_clamp, scalar
from hqsim.ops.layout import in_memory_order


def rescale_arrays(ratio: np.ndarray, what: str) -> dict[str, np.ndarray]:
    """Return ``multiplier`` and ``shift`` int64 of positive ratios."""
    factor = dyadic(ratio, what=what)
    return {"multiplier": factor.multiplier, "shift": factor.shift}


def rescale_integer(x, multiplier, shift, output, offset=0):
    """Rescale every code of ``x`` by one dyadic factor with the kernel; the product gets ``offset``."""
    from hqsim.kernels.rescale import rescale

    x, order = in_memory_order(x)
    codes = np.empty(x.shape, output.dtype)
    saturated = rescale(
        x.reshape(-1),
        scalar(multiplier),
        scalar(shift),
        np.int64(offset),
        np.int64(0),
        np.int64(output.low),
        np.int64(output.high),
        codes.reshape(-1),
    )
    return codes.transpose(order), int(saturated)


def rescale_exact(x, multiplier, shift, output):
    """Rescale every code of ``x`` by one dyadic factor, plainly."""
    return exact_clamp(shift_round_half_up(x.astype(np.int64) * multiplier, shift), output)


class Rescale(Operator):
    """A carrier in another scale and width (the 24-bit sample of the sampler becomes the first carrier)."""

    name = "rescale"
    vector_kind = "rescale"

    def evaluate(self, node, inputs, parameters):
        """The real value does not change."""
        return inputs[0]

    def prepare(self, node, preparation):
        """``M * 2**-s = s_in / s_out``."""
        (source,) = preparation.inputs(node)
        return rescale_arrays(np.array([source.scale / preparation.output(node).scale]), node.name)

    def integer(self, node, arrays, inputs, output):
        """Kernel ``rescale``."""
        return rescale_integer(inputs[0], arrays["multiplier"], arrays["shift"], output)

    def exact(self, node, arrays, inputs, output):
        """Plain int64."""
        return rescale_exact(inputs[0], arrays["multiplier"], arrays["shift"], output)
