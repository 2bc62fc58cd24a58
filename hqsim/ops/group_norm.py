"""GroupNorm in integers (the normalisation formula of NUMERICS, section 6, for ``n`` elements per group).

With ``f = 22 - b`` fractional bits: ``μ = floor((2 S1 2^f + n) / 2n)``, ``d = (q << f) - μ``,
``V = max(1, Σd² + E)``, ``1/sqrt(V)`` from an exact integer square root, then gain, offset and one rounding.
"""

from __future__ import annotations

import math

import numpy as np

from hqsim.errors import NumericsError
from hqsim.numerics import round_half_up, shift_round_half_up
from hqsim.numerics.dyadic import MAX_SHIFT
from hqsim.ops.base import Operator, exact_clamp, scalar

GAIN_BITS = 23
OFFSET_FRACTION = 16


def normalization_arrays(gain, offset, *, n, eps, source, target, what):
    """Return the integer parameters of a normalisation over ``n`` elements.

    ``gain`` and ``offset`` are float64 ``[groups, channels]``.
    """
    fraction = 22 - source.bits
    room = 2 * (source.bits + fraction) + math.ceil(math.log2(n))
    if fraction < 0:
        raise NumericsError(f"{what}: got codes of {source.bits} bits, allowed 22; use narrower carriers")
    if room > 61:
        raise NumericsError(
            f"{what}: normalising {n} codes of {source.bits} bits needs {room} bits, allowed 61; "
            "use smaller groups"
        )
    real = gain * math.sqrt(n) / target.scale
    offset_codes = round_half_up(offset / target.scale * 2.0**OFFSET_FRACTION)
    largest = max(float(np.abs(real).max()), 2.0**-20)
    offset_bits = int(np.abs(offset_codes).max()).bit_length()
    gain_bits = min(GAIN_BITS - (math.floor(math.log2(largest)) + 1), 46 - offset_bits, MAX_SHIFT - 30)
    if gain_bits < -14:
        raise NumericsError(
            f"{what}: gain {largest:.3g} is too large for its output scale {target.scale:.3g}"
        )
    epsilon = n * eps * 4.0**fraction / source.scale**2
    if epsilon >= 2.0**61:
        raise NumericsError(
            f"{what}: eps {eps:.3g} is too large beside the input scale {source.scale:.3g}: the sum of "
            f"squares needs {math.log2(epsilon):.0f} bits, allowed 61; the layer's input is almost zero"
        )
    return {
        "gain": round_half_up(real * 2.0**gain_bits),
        "offset": offset_codes,
        "gain_bits": np.array([gain_bits], np.int64),
        "fraction": np.array([fraction], np.int64),
        "epsilon": np.array([round_half_up(epsilon)], np.int64),
    }


def normalize_exact(rows, arrays, output):
    """Normalize ``rows [rows, channels, inner]`` plainly: numpy int64, Python's own ``math.isqrt``."""
    q = rows.astype(np.int64)
    count, channels, inner = q.shape
    n = channels * inner
    f = int(arrays["fraction"][0])
    total = q.sum(axis=(1, 2))
    mean = np.floor_divide(2 * total * 2**f + n, 2 * n)
    d = q * 2**f - mean[:, None, None]
    spread = np.maximum((d * d).sum(axis=(1, 2)) + arrays["epsilon"][0], 1)
    inverse, places = np.empty(count, np.int64), np.empty(count, np.int64)
    for row, value in enumerate(spread.tolist()):
        h = (62 - value.bit_length()) // 2 * 2
        inverse[row] = 2**54 // math.isqrt(value * 2**h)
        places[row] = 24 - h // 2
    t = shift_round_half_up(d * inverse[:, None, None], places[:, None, None])
    groups = len(arrays["gain"])
    g = int(arrays["gain_bits"][0])
    gain = np.tile(arrays["gain"], (count // groups, 1))[:, :, None]
    offset = np.tile(arrays["offset"], (count // groups, 1))[:, :, None] * 2 ** (14 + g)
    return exact_clamp(shift_round_half_up(t * gain + offset, 30 + g), output)


class GroupNorm(Operator):
    """``[c, ...]`` normalised in ``groups`` groups of channels, affine."""

    name = "group_norm"
    vector_kind = "norm"

    def evaluate(self, node, inputs, parameters):
        """Torch group_norm."""
        from torch.nn.functional import group_norm

        weight, bias = (parameters[node.parameters[role]] for role in ("weight", "bias"))
        return group_norm(inputs[0], node.attributes["groups"], weight, bias, node.attributes["eps"])

    def prepare(self, node, preparation):
        """Gain and offset per channel, epsilon in code units."""
        groups = node.attributes["groups"]
        gain, offset = (
            preparation.parameters[node.parameters[role]].astype(np.float64).reshape(groups, -1)
            for role in ("weight", "bias")
        )
        return normalization_arrays(
            gain,
            offset,
            n=node.type.elements // groups,
            eps=node.attributes["eps"],
            source=preparation.inputs(node)[0],
            target=preparation.output(node),
            what=node.name,
        )

    def integer(self, node, arrays, inputs, output):
        """Kernel ``group_normalize`` on channels-last codes."""
        from hqsim.kernels.group_norm import group_normalize

        x = np.ascontiguousarray(np.moveaxis(inputs[0], 1, -1))
        codes = np.empty(x.shape, output.dtype)
        pixels = (x.shape[0], -1, x.shape[-1])
        saturated = group_normalize(
            x.reshape(pixels),
            np.int64(node.attributes["groups"]),
            scalar(arrays["fraction"]),
            scalar(arrays["epsilon"]),
            arrays["gain"].reshape(-1),
            scalar(arrays["gain_bits"]),
            arrays["offset"].reshape(-1),
            np.int64(output.low),
            np.int64(output.high),
            codes.reshape(pixels),
        )
        return np.moveaxis(codes, -1, 1), int(saturated)

    def exact(self, node, arrays, inputs, output):
        """Plain rows."""
        codes, saturated = normalize_exact(self._rows(node, inputs[0]), arrays, output)
        return codes.reshape(inputs[0].shape), saturated

    @staticmethod
    def _rows(node, x):
        groups, channels = node.attributes["groups"], x.shape[1]
        return x.reshape(x.shape[0] * groups, channels // groups, -1)
