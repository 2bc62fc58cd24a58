"""What convolution, linear layer and attention product share: exact sums, bias, one rescale.

``y = clamp(round_half_up((sum_g acc[g] * M[g] + bias * 2**(s - f)) * 2**-s))``, one shift and one rounding
per output channel, with ``M[g] * 2**-s = ŝ * s_w[g] / (n * s_out)`` per timestep and segment ``g`` of the
reduction axis (``ops/sums.py`` makes the sums; most layers have one segment). The largest factor of a channel
fills 15 bits. The bias counts ``2**-f`` of an output code, so it does not change with the timestep and is
finer than one accumulator step at low widths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from hqsim.errors import NumericsError
from hqsim.graph import (
    ConvWork,
    LayerRecord,
    MatrixWork,
    Node,
    TensorUse,
    Variant,
)
from hqsim.numerics import (
    AccumulatorBound,
    Format,
    Transform,
    accumulator_bound,
    dyadic,
    round_half_up,
    shift_round_half_up,
    signed_bits,
)
from hqsim.numerics.dyadic import MULTIPLIER_BITS
from hqsim.ops.accumulator import accumulator_of
from hqsim.ops.base import Arrays, Preparation, Result, WorkContext, exact_clamp
from hqsim.ops.fused import Finished, PackedLayer, Rescale, multiply_layer, pack_layer
from hqsim.ops.layer_layout import Window
from hqsim.ops.operand import operand_dtype
from hqsim.ops.parity import parity_term
from hqsim.ops.quantize import FACTOR_BYTES, dense_transform, hadamard_work, transform_of
from hqsim.ops.realisation import (
    alternatives,
    folds,
    has_parity,
    inverse_of,
    is_double,
    multiplier_bits,
    multiplier_range,
    realisation_of,
    realised,
)
from hqsim.ops.segments import segments_of
from hqsim.ops.sums import Summing, folded_exact, folded_integer, groups_of
from hqsim.ops.weights import WeightCodes

BIAS_BITS = 8
WORD_BYTES = 4.0
"""A bias, or a zero-point's share of a sum, in a table."""


class Multiply(Summing):
    """Base of every matrix product. Subclasses give shape, float form, the sums of one segment and work."""

    per_step = frozenset({"multiplier", "shift", "zero_points"})

    def matrix_work(self, node: Node, context: WorkContext) -> tuple[int, int, int, int]:
        """Return ``(m, n, k, count)`` of the layer."""
        raise NotImplementedError(self.name)

    def conv_work(self, node: Node, context: WorkContext) -> ConvWork | None:
        """Return the convolution behind the product, None when it is none."""
        return None

    def parity_rows(self, node: Node, transform: Transform, context: WorkContext) -> int:
        """Return the rows of a parity term along the width: the windows that meet different blocks."""
        raise NotImplementedError(self.name)

    def transformed_weight(self, node: Node, weight: np.ndarray) -> np.ndarray:
        """Return the real weight in the domain of its codes: transformed under ``double``."""
        return dense_transform(weight, transform_of(node), 1, inverse=False) if is_double(node) else weight

    def real_weight(self, node: Node, weight: WeightCodes, entry: int = 0) -> np.ndarray:
        """Return the weight float64 that the codes stand for, in the domain of the float model.

        ``entry`` indexes scales that change with the timestep.
        """
        lengths = [segment.length for segment in segments_of(node, weight.shape[1])]
        scales = np.repeat(weight.scales_at(entry), lengths, axis=1)
        real = weight.codes * scales.reshape(scales.shape + (1,) * (len(weight.shape) - 2))
        transform = transform_of(node)
        if transform is None or not is_double(node):
            return real
        return dense_transform(real, transform, 1, inverse=True) / transform.size

    def bounds(self, node: Node, arrays: Arrays, inputs: Sequence[Format]) -> list[AccumulatorBound]:
        """Return per segment what its sums can reach and the width that holds it, proved from the weights."""
        weight = folded_exact(node, arrays["weight"])
        found = []
        for segment in segments_of(node, weight.shape[1]):
            low, high = multiplier_range(node, inputs[segment.side])
            rows = weight[:, segment.weight].reshape(len(weight), -1)
            found.append(accumulator_bound(low, high, rows))
        return found

    def bound(self, node: Node, arrays: Arrays, inputs: Sequence[Format]) -> AccumulatorBound:
        """Return the largest bound of a segment: what each accumulator of the layer must hold."""
        return max(self.bounds(node, arrays, inputs), key=lambda bound: bound.magnitude)

    def product_scale(self, node: Node, preparation: Preparation) -> np.ndarray:
        """Return the real value of one accumulator step, float64 ``[steps, segments, channels]``."""
        operands, transform = preparation.inputs(node), transform_of(node)
        weight = preparation.weights[node.parameters["weight"]]
        segments, table = segments_of(node, weight.shape[1]), weight.scale_table
        steps = max(len(table), *(len(operand.scales) for operand in operands))
        scales = np.empty((steps, len(segments), weight.shape[0]))
        for index, segment in enumerate(segments):
            operand = np.array(operands[segment.side].scales)[:, None]
            scales[:, index] = operand * table[:, :, index] / (transform.size if transform else 1)
        return scales

    def prepare(self, node: Node, preparation: Preparation) -> dict[str, np.ndarray]:
        """Weights as codes, factors per timestep, segment and channel, zero-points, the bias."""
        arrays: dict[str, np.ndarray] = {}
        if "weight" in node.parameters:
            arrays["weight"] = preparation.weights[node.parameters["weight"]].codes
        out, operands = preparation.output(node), preparation.inputs(node)
        ratio = self.product_scale(node, preparation) / out.scale
        shift = dyadic(ratio.max(axis=1), what=node.name).shift
        bias_bits = int(np.clip(shift.min(), 0, BIAS_BITS))
        bias = np.zeros(ratio.shape[2], np.int64)
        if "bias" in node.parameters:
            real = preparation.parameters[node.parameters["bias"]].astype(np.float64)
            bias = round_half_up(real / out.scale * 2.0**bias_bits)
        bounds = self.bounds(node, arrays, operands)
        _check_headroom(node, sum_bits(bounds), shift, bias, bias_bits)
        ranges = [multiplier_range(node, operand) for operand in operands]
        wide = any(not bound.fits_int32 for bound in bounds)
        wide |= any(operand_dtype(*limits) != np.int16 for limits in ranges)
        entries = range(max(len(operand.zero_points) for operand in operands))
        zero_points = [[operand.zero_point_at(entry) for operand in operands] for entry in entries]
        return arrays | {
            "multiplier": round_half_up(np.ldexp(ratio, shift[:, None])),
            "shift": shift,
            "zero_points": np.array(zero_points, np.int64),
            "operand_range": np.array(ranges, np.int64),
            "bias": bias,
            "bias_bits": np.array([bias_bits], np.int64),
            "wide": np.array([wide], np.int64),
        }

    def fuses(self, node: Node, arrays: Arrays) -> bool:
        """Whether the product runs as a whole: exact 32-bit sums, one segment, one group, 16-bit operands."""
        single = "weight" not in arrays or len(segments_of(node, arrays["weight"].shape[1])) == 1
        return single and groups_of(node) == 1 and not arrays["wide"][0] and accumulator_of(node) is None

    def pack(self, node: Node, arrays: Arrays) -> dict[str, Any]:
        """Pack the weights for the kernels: as ``layer`` where the product fuses, else segment by segment."""
        if not self.fuses(node, arrays):
            return self.pack_segments(node, arrays)
        packed = {name: array for name, array in arrays.items() if name != "weight"}
        packed["multiplier"] = arrays["multiplier"].astype(np.int32)
        return packed | {"layer": self.pack_layer(node, arrays)}

    def pack_layer(self, node: Node, arrays: Arrays) -> PackedLayer:
        """Return the weights of a product that fuses, folded if asked."""
        weight = folded_integer(node, arrays["weight"])
        low, high = arrays["operand_range"][0].tolist()
        return pack_layer(
            node, weight.reshape(*weight.shape[:2], *self.window(node, weight).kernel), low, high
        )

    def window(self, node: Node, array: np.ndarray) -> Window:
        """Return the layer as a convolution of ``array``, an operand (or, for its kernel alone, a weight)."""
        raise NotImplementedError(self.name)

    def images(self, node: Node, operand: np.ndarray) -> np.ndarray:
        """Return an operand as ``[b, h, w, c]``, channels last."""
        raise NotImplementedError(self.name)

    def shaped(self, node: Node, images: np.ndarray, operand: np.ndarray) -> np.ndarray:
        """Return ``[b, h, w, outputs]`` in the shape of the result for ``operand``."""
        raise NotImplementedError(self.name)

    def finished(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray], output: Format) -> Finished:
        """Return codes, saturation, range of the sums and accumulator events, by the kernels."""
        if "layer" in arrays:
            return self.fused(node, arrays, inputs, output)
        sums, events = self.sums_integer(node, arrays, inputs)
        codes, saturated = self.finish_integer(arrays, sums, output)
        return Finished(codes, saturated, int(sums.min()), int(sums.max()), events)

    def fused(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray], output: Format) -> Finished:
        """Kernel ``multiply_codes``: operand, product, bias and rescale."""
        (operand,) = inputs
        found = multiply_layer(
            cast(PackedLayer, arrays["layer"]),
            self.images(node, operand),
            lambda: self.window(node, operand),
            int(arrays["zero_points"][0]),
            Rescale(arrays["multiplier"][0], arrays["bias"], int(arrays["bias_bits"][0]), arrays["shift"]),
            output,
        )
        return found.reshaped(self.shaped(node, found.codes, operand))

    def integer(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray], output: Format) -> Result:
        """Codes in, codes out, by the kernels; ``arrays`` may be packed already."""
        if "layer" not in arrays and "weight.0" not in arrays:
            arrays = self.pack(node, arrays)
        found = self.finished(node, arrays, inputs, output)
        return found.codes, found.saturated

    def exact(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray], output: Format) -> Result:
        """Dense inverse, float64 product of codes, plain int64 rescale."""
        sums, _ = self.sums_exact(node, arrays, inputs)
        return self.finish_exact(arrays, sums, output)

    def finish_integer(self, arrays: Arrays, sums: np.ndarray, output: Format) -> Result:
        """Bias and rescale of sums ``[segments, ...]`` by kernel ``rescale_sums``."""
        from hqsim.kernels.rescale import rescale_sums

        axis = self.channel_axis % (sums.ndim - 1)
        parts = np.ascontiguousarray(np.moveaxis(sums, axis + 1, -1), np.int64)
        columns, codes = parts.shape[-1], np.empty(parts.shape[1:], output.dtype)
        shift = arrays["shift"]
        addend = (arrays["bias"] << (shift - arrays["bias_bits"][0])) + ((np.int64(1) << shift) >> 1)
        saturated = rescale_sums(
            parts.reshape(len(parts), -1, columns),
            np.ascontiguousarray(np.broadcast_to(arrays["multiplier"], (len(parts), columns))),
            np.ascontiguousarray(np.broadcast_to(addend, columns)),
            np.ascontiguousarray(np.broadcast_to(shift, columns)),
            np.int64(output.low),
            np.int64(output.high),
            codes.reshape(-1, columns),
        )
        return np.moveaxis(codes, -1, axis), int(saturated)

    def finish_exact(self, arrays: Arrays, sums: np.ndarray, output: Format) -> Result:
        """Bias and rescale of the sums, plainly."""
        places = arrays["shift"][:, None]
        total = arrays["bias"][:, None] * (1 << (places - arrays["bias_bits"][0]))
        for part, factor in zip(sums, arrays["multiplier"], strict=True):
            total = total + self._channel_view(part) * factor[:, None]
        codes, saturated = exact_clamp(shift_round_half_up(total, places), output)
        return codes.reshape(sums.shape[1:]), saturated

    def _channel_view(self, array: np.ndarray) -> np.ndarray:
        axis = self.channel_axis % array.ndim
        shape = array.shape
        inner = int(np.prod(shape[axis + 1 :], dtype=np.int64))
        return array.reshape(int(np.prod(shape[:axis])), shape[axis], inner)

    def record(self, node: Node, context: WorkContext) -> LayerRecord:
        """Return the layer's work as it is realised, and that of its other realisations beside it."""
        own, variants = self._variants(node, context)
        return self.vector_record(
            node,
            context,
            weights=_weights(node, own.matrix),
            matrix=own.matrix,
            hadamard=own.hadamard,
            vector=own.vector,
            realisation=realisation_of(node),
            variants=variants,
            parity=own.parity,
            table_bytes=own.table_bytes,
            table_bytes_all_steps=own.table_bytes_all_steps,
        )

    def _variants(self, node: Node, context: WorkContext) -> tuple[Variant, Mapping[str, Variant]]:
        """The layer's work, and its other realisations'; layers that differ in names alone share it."""
        key = (
            node.op,
            node.type,
            tuple(node.attributes.items()),
            tuple((context.graph[name].type, context.formats[name]) for name in node.inputs),
            context.accumulator_bits.get(node.name),
            context.entries(node),
        )
        if key not in context.works:
            others = {name: self._work(realised(node, name), context) for name in alternatives(node)}
            context.works[key] = self._work(node, context), others
        return context.works[key]

    def _work(self, node: Node, context: WorkContext) -> Variant:
        """Inverse blocks, products, the parity term, one requantization per output and segment, tables.

        A proved accumulator width holds for every realisation: their sums are the same.
        """
        m, n, k, count = self.matrix_work(node, context)
        operands = [context.formats[name] for name in node.inputs]
        types = [context.graph[name].type for name in node.inputs]
        reaches = [max(-low, high) for low, high in (multiplier_range(node, operand) for operand in operands)]
        transform, inverse, accumulator = transform_of(node), inverse_of(node), accumulator_of(node)
        segments, channels, step_bytes = 1, 1, FACTOR_BYTES
        if "weight" in node.parameters:
            axis = self.channel_axis - 1 if self.channel_axis > 0 else -1
            depth = sum(type_.shape[axis] for type_ in types) // groups_of(node)
            parts = segments_of(node, depth)
            segments, channels = len(parts), n * count
            growth = transform.order if transform and folds(node) else 0
            w_bits = node.integer("weight_bits") + growth
            longest = max(part.length for part in parts)
            w_reach = ((1 << (node.integer("weight_bits") - 1)) - 1) << growth
            worst = max(reaches) * (k // depth * longest) * w_reach
            step_bytes += 2.0 * (segments - 1)
            if inverse is None and not operands[0].signed:
                step_bytes += WORD_BYTES * segments
        else:
            w_bits = operands[1].bits
            worst = reaches[0] * k * reaches[1]
        bits = context.accumulator_bits.get(node.name, signed_bits(-worst, worst))
        elements = sum(type_.elements for type_ in types) * context.batch
        matrix = MatrixWork(
            m=m,
            n=n,
            k=k,
            count=count,
            a_storage_bits=operands[0].bits,
            w_storage_bits=w_bits,
            a_multiplier_bits=multiplier_bits(node, operands),
            w_multiplier_bits=w_bits,
            accumulator_bits=min(bits, accumulator.bits) if accumulator else bits,
            segments=segments,
            conv=self.conv_work(node, context),
        )
        parity = None
        if transform and has_parity(node):
            rows = self.parity_rows(node, transform, context) if transform.axis == "width" else None
            parity = parity_term(node, matrix, transform, rows)
        # Biases serve all timesteps.
        shared_bytes, step_bytes = WORD_BYTES * channels, step_bytes * channels
        return Variant(
            matrix=matrix,
            hadamard=hadamard_work(node, elements, "inverse") if inverse else (),
            vector={"requantize": node.type.elements * context.batch * segments},
            table_bytes=shared_bytes + step_bytes,
            table_bytes_all_steps=shared_bytes + step_bytes * context.entries(node),
            parity=parity,
        )


def _weights(node: Node, matrix: MatrixWork) -> TensorUse | None:
    """The weights as memories hold them, None for a product of two activations."""
    if "weight" not in node.parameters:
        return None
    elements = matrix.n * matrix.k * matrix.count
    return TensorUse(name=node.parameters["weight"], elements=elements, bits=matrix.w_storage_bits)


def sum_bits(bounds: Sequence[AccumulatorBound]) -> int:
    """Return the width of the wide sum in front of the rounding: ``sum_g acc[g] * M[g]``."""
    total = sum(bound.magnitude for bound in bounds)
    return signed_bits(-total, total) + MULTIPLIER_BITS


def _check_headroom(
    node: Node, product_bits: int, shift: np.ndarray, bias: np.ndarray, bias_bits: int
) -> None:
    """Refuse a layer whose rescale could leave int64 (a channel of almost zero scale with a large bias)."""
    offset_bits = int(np.abs(bias).max(initial=0)).bit_length() + int(shift.max(initial=0)) - bias_bits
    if max(product_bits, offset_bits) > 61:
        cause = "a weight channel's scale is too small beside its bias"
        if product_bits > 61:
            cause = "its sums are too wide; use narrower activations or weights"
        raise NumericsError(
            f"{node.name}: the rescale needs {max(product_bits, offset_bits)} bits, allowed 61; {cause}"
        )
