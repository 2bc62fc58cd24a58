"""What convolution, linear layer and attention product share: inverse, exact sum, bias, one rescale.

``acc = sum(a * w)`` exactly, then ``y = clamp(round_half_up((acc * M + bias * 2**(s - f)) * 2**-s))`` with
``M * 2**-s = ŝ * s_w / (n * s_out)`` per timestep and output channel. The bias counts ``2**-f`` of an output
code, so it does not change with the timestep and is finer than one accumulator step at low widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hqsim.errors import NumericsError
from hqsim.graph import LayerRecord, MatrixWork, Node, TensorUse
from hqsim.numerics import (
    AccumulatorBound,
    Format,
    accumulator_bound,
    dyadic,
    operand_range,
    round_half_up,
    shift_round_half_up,
    signed_bits,
)
from hqsim.ops.base import Arrays, Operator, Preparation, Result, WorkContext, exact_clamp
from hqsim.ops.quantize import blocks_view, dense_transform, hadamard_work, signs_of, transform_of

BIAS_BITS = 8


class Multiply(Operator):
    """Base of every matrix product. ``accumulate_*`` give the sums, the rest is common."""

    per_step = frozenset({"multiplier", "shift"})
    channel_axis = -1
    """Axis of the sums that the per-channel factors follow."""

    def accumulate_integer(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Return the exact sums by the kernels, int32 where that is proved safe, else int64."""
        raise NotImplementedError(self.name)

    def accumulate_exact(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Return the exact sums int64, plainly."""
        raise NotImplementedError(self.name)

    def bound(self, node: Node, arrays: Arrays, inputs: Sequence[Format]) -> AccumulatorBound:
        """Return what the sums can reach and the width that holds them, proved from the weights."""
        low, high = multiplier_range(node, inputs[0])
        return accumulator_bound(low, high, arrays["weight"].reshape(arrays["weight"].shape[0], -1))

    def product_scale(self, node: Node, preparation: Preparation) -> np.ndarray:
        """Return the real value of one accumulator step, float64 ``[steps, channels]``."""
        operand = preparation.inputs(node)[0]
        transform = transform_of(node)
        steps = np.array(operand.scales)[:, None]
        weight = preparation.weights[node.parameters["weight"]]
        return steps * weight.scales[None, :] / (transform.size if transform else 1)

    def prepare(self, node: Node, preparation: Preparation) -> dict[str, np.ndarray]:
        """Weights as codes, factors per timestep and channel, the bias."""
        arrays: dict[str, np.ndarray] = {}
        if "weight" in node.parameters:
            arrays["weight"] = preparation.weights[node.parameters["weight"]].codes
        out = preparation.output(node)
        ratio = self.product_scale(node, preparation) / out.scale
        factor = dyadic(ratio, what=node.name)
        bias_bits = int(np.clip(factor.shift.min(), 0, BIAS_BITS))
        bias = np.zeros(ratio.shape[1], np.int64)
        if "bias" in node.parameters:
            real = preparation.parameters[node.parameters["bias"]].astype(np.float64)
            bias = round_half_up(real / out.scale * 2.0**bias_bits)
        bound = self.bound(node, arrays, preparation.inputs(node))
        _check_headroom(node, bound, factor.shift, bias, bias_bits)
        return arrays | {
            "multiplier": factor.multiplier,
            "shift": factor.shift,
            "bias": bias,
            "bias_bits": np.array([bias_bits], np.int64),
            "wide": np.array([not bound.fits_int32], np.int64),
        }

    def sums_dtype(self, arrays: Arrays) -> type[np.signedinteger]:
        """Accumulator type of the kernels: the wide path where int32 is not provable."""
        return np.int64 if arrays["wide"][0] else np.int32

    def integer(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray], output: Format) -> Result:
        """Inverse butterflies, product, fused bias and rescale, all in kernels."""
        return self.finish_integer(arrays, self.accumulate_integer(node, arrays, inputs), output)

    def exact(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray], output: Format) -> Result:
        """Dense inverse, float64 product of codes, plain int64 rescale."""
        return self.finish_exact(arrays, self.accumulate_exact(node, arrays, inputs), output)

    def finish_integer(self, arrays: Arrays, sums: np.ndarray, output: Format) -> Result:
        """Bias and rescale of the sums by kernel ``requantize``."""
        from hqsim.kernels.elementwise import requantize

        codes = np.empty(sums.shape, output.dtype)
        saturated = requantize(
            self._channel_view(sums),
            arrays["multiplier"].reshape(-1),
            arrays["shift"].reshape(-1),
            arrays["bias"],
            arrays["bias_bits"][0],
            np.int64(output.low),
            np.int64(output.high),
            self._channel_view(codes),
        )
        return codes, int(saturated)

    def finish_exact(self, arrays: Arrays, sums: np.ndarray, output: Format) -> Result:
        """Bias and rescale of the sums, plainly."""
        view = self._channel_view(sums)
        factor, places = arrays["multiplier"].reshape(-1)[:, None], arrays["shift"].reshape(-1)[:, None]
        bias = arrays["bias"][:, None] * (1 << (places - arrays["bias_bits"][0]))
        codes, saturated = exact_clamp(shift_round_half_up(view * factor + bias, places), output)
        return codes.reshape(sums.shape), saturated

    def _channel_view(self, array: np.ndarray) -> np.ndarray:
        axis = self.channel_axis % array.ndim
        shape = array.shape
        inner = int(np.prod(shape[axis + 1 :], dtype=np.int64))
        return array.reshape(int(np.prod(shape[:axis])), shape[axis], inner)

    def inverse_integer(self, node: Node, codes: np.ndarray) -> np.ndarray:
        """Return the int16 operand of the multiplier: integer inverse butterflies of the codes."""
        transform = transform_of(node)
        if transform is None:
            return np.ascontiguousarray(codes, np.int16)
        from hqsim.kernels.fwht import inverse_blocks

        codes = np.ascontiguousarray(codes)
        operand = np.empty(codes.shape, np.int16)
        axis = node.integer("channel_axis")
        inverse_blocks(
            blocks_view(codes, transform, axis), signs_of(transform), blocks_view(operand, transform, axis)
        )
        return operand

    def inverse_exact(self, node: Node, codes: np.ndarray) -> np.ndarray:
        """Return the operand of the multiplier by a dense +-1 matrix, int64."""
        return dense_transform(codes, transform_of(node), node.integer("channel_axis"), inverse=True)

    def matrix_work(self, node: Node, context: WorkContext) -> tuple[int, int, int, int]:
        """Return ``(m, n, k, count)`` of the layer."""
        raise NotImplementedError(self.name)

    def record(self, node: Node, context: WorkContext) -> LayerRecord:
        """Inverse blocks, products, one requantization per output, weights and tables."""
        record = self.vector_record(node, context)
        m, n, k, count = self.matrix_work(node, context)
        a = context.formats[node.inputs[0]]
        low, high = multiplier_range(node, a)
        weights = None
        if len(node.inputs) > 1:
            w_bits = context.formats[node.inputs[1]].bits
        else:
            w_bits = node.integer("weight_bits")
            name = node.parameters["weight"]
            weights = TensorUse(name=name, elements=n * k * count, bits=w_bits)
        a_multiplier = signed_bits(low, high) if low < 0 else high.bit_length()
        worst = max(-low, high) * k * ((1 << (w_bits - 1)) - 1 if weights else 1 << (w_bits - 1))
        channels = n * count if weights else 1
        return replace(
            record,
            weights=weights,
            matrix=MatrixWork(
                m=m,
                n=n,
                k=k,
                count=count,
                a_storage_bits=a.bits,
                w_storage_bits=w_bits,
                a_multiplier_bits=a_multiplier,
                w_multiplier_bits=w_bits,
                accumulator_bits=context.accumulator_bits.get(node.name, signed_bits(-worst, worst)),
            ),
            hadamard=hadamard_work(node, record.inputs[0].elements, "inverse"),
            vector={"requantize": record.output.elements},
            table_bytes=(3.0 + 4.0) * channels,
            table_bytes_all_steps=(3.0 * context.table_steps + 4.0) * channels,
        )


def multiplier_range(node: Node, operand: Format) -> tuple[int, int]:
    """Return the range of what the multiplier sees of the first operand."""
    transform = transform_of(node)
    return operand_range(operand.low, operand.high, transform.order if transform else 0)


def _check_headroom(
    node: Node, bound: AccumulatorBound, shift: np.ndarray, bias: np.ndarray, bias_bits: int
) -> None:
    """Refuse a layer whose rescale could leave int64 (a channel of almost zero scale with a large bias)."""
    product_bits = bound.bits + 15
    offset_bits = int(np.abs(bias).max(initial=0)).bit_length() + int(shift.max(initial=0)) - bias_bits
    if max(product_bits, offset_bits) > 61:
        raise NumericsError(
            f"{node.name}: the rescale needs {max(product_bits, offset_bits)} bits, allowed 61; "
            "a weight channel's scale is too small beside its bias"
        )
