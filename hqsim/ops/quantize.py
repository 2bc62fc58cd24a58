"""The operand quantizer: carrier codes, transformed in blocks, to low-bit operand codes.

``q = clamp(round_half_up(FWHT(signs * c) * M * 2**-s) + z)`` with ``M * 2**-s = s_c / ŝ``. The operand scale
``ŝ`` lives in the un-normalised domain of the +-1 transform; scale and zero-point ``z`` (0 for symmetric
codes) are one per calibrated timestep. Symmetric codes may have steps of their own per (transformed)
channel, powers of two apart: ``q = clamp(round_half_up(... * 2**-(s + e)), ...) * 2**e`` with the exponent
``e`` of the channel, 0 for the finest step.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from hqsim.graph import HadamardWork, Node
from hqsim.numerics import Transform, block_signs, dyadic, shift_round_half_up, sylvester
from hqsim.ops.base import Operator, exact_clamp
from hqsim.ops.layout import CHANNELS_FIRST, in_memory_order

FACTOR_BYTES = 3.0
"""A dyadic factor in a table: 15 bits of multiplier, a shift."""
LARGEST_SHIFT = 62


def transform_of(node: Node) -> Transform | None:
    """Return the transform that a node's attributes describe (a quantizer or the product after it)."""
    if not node.attributes.get("hadamard_order"):
        return None
    return _transform(
        "channel" if node.attributes["hadamard_axis"] == "channel" else "width",
        node.integer("hadamard_order"),
        bool(node.attributes["hadamard_signs"]),
    )


_transform = cache(Transform)


@cache
def signs_of(transform: Transform | None) -> np.ndarray:
    """Return the int64 signs of one block, read only: all +1 without signs, one +1 without a transform."""
    if transform is None:
        signs = np.ones(1, np.int64)
    else:
        signs = block_signs(transform.order) if transform.signs else np.ones(transform.size, np.int64)
    signs.flags.writeable = False
    return signs


def blocks_view(array: np.ndarray, transform: Transform | None, channel_axis: int) -> np.ndarray:
    """View ``array`` as ``[outer, length, inner]`` with the transformed axis in the middle."""
    axis = channel_axis if transform and transform.axis == "channel" else array.ndim - 1
    shape = array.shape
    return array.reshape(
        int(np.prod(shape[:axis])), shape[axis], int(np.prod(shape[axis + 1 :], dtype=np.int64))
    )


def channels_last(array: np.ndarray) -> np.ndarray:
    """Return ``[b, c, h, w]`` as contiguous ``[b, h, w, c]``; anything else contiguous."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array)


def channels_first(array: np.ndarray) -> np.ndarray:
    """Undo :func:`channels_last`, as a view."""
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


def lanes_view(array: np.ndarray, transform: Transform) -> np.ndarray:
    """View a channels-last array as ``[outer, length, inner]``, to be transformed along ``length``."""
    if transform.axis == "channel":
        return array.reshape(-1, array.shape[-1], 1)
    return array.reshape(-1, *array.shape[-2:])


def dense_transform(
    array: np.ndarray, transform: Transform | None, channel_axis: int, *, inverse: bool
) -> np.ndarray:
    """Apply the transform by a dense +-1 matrix in float64: ``(signs x) Ĥ``, or ``signs (x Ĥ)`` as inverse.

    Exact on integers whose sums stay below 2**53.
    """
    if transform is None:
        return array.astype(np.float64)
    view = np.moveaxis(blocks_view(array, transform, channel_axis), 1, 2).astype(np.float64)
    n = transform.size
    matrix = np.diag(signs_of(transform)) @ sylvester(transform.order)
    if inverse:
        matrix = matrix.T
    blocks = view.reshape(*view.shape[:2], -1, n) @ matrix.astype(np.float64)
    return np.moveaxis(blocks.reshape(view.shape), 2, 1).reshape(array.shape)


def along_channels(exponents, channel_axis: int, dimensions: int):
    """View exponents (an array or a tensor, of one channel or of all) so that they broadcast with codes."""
    return exponents.reshape([-1 if axis == channel_axis else 1 for axis in range(dimensions)])


def channel_steps(node, output, x):
    """Return the steps of the channels of ``x`` in steps of the scale (torch); 1 without exponents."""
    if not output.exponents:
        return 1.0
    import torch

    exponents = torch.tensor(output.exponents, dtype=x.dtype, device=x.device)
    return along_channels(2.0**exponents, node.integer("channel_axis"), x.ndim)


class Quantize(Operator):
    """Carrier to operand; the width rule is the recipe's, the storage is the operand's bits."""

    name = "quantize"
    per_step = frozenset({"multiplier", "shift", "zero_point", "factor"})

    def evaluate(self, node, inputs, parameters):
        """The float model does not quantize."""
        return inputs[0]

    def fake(self, node, x, output, entry):
        """Return the operand's codes (as floats) and the value that the product sees (torch, any float)."""
        steps = channel_steps(node, output, x)
        codes = (self.transformed(node, x) / (output.scale_at(entry) * steps) + 0.5).floor()
        codes = (codes + output.zero_point_at(entry)).clamp(output.even.low, output.even.high) * steps
        return codes, self.dequantized(node, codes, output, entry)

    def dequantized(self, node, codes, output, entry):
        """Return the value that the product sees: ``ŝ / n * signs * ((q - z) Ĥ)`` (torch, any float)."""
        transform = transform_of(node)
        n = transform.size if transform else 1
        centred = codes - output.zero_point_at(entry)
        return self.transformed(node, centred, inverse=True) * (output.scale_at(entry) / n)

    def transformed(self, node, x, *, inverse=False):
        """Return ``x`` in the un-normalised transformed domain (torch, dense matrix)."""
        import torch

        transform = transform_of(node)
        if transform is None:
            return x
        axis = node.attributes["channel_axis"] if transform.axis == "channel" else x.ndim - 1
        matrix = torch.from_numpy(np.diag(signs_of(transform)) @ sylvester(transform.order)).to(x.dtype)
        moved = x.movedim(axis, -1)
        blocks = moved.reshape(*moved.shape[:-1], -1, transform.size) @ (matrix.T if inverse else matrix)
        return blocks.reshape(moved.shape).movedim(-1, axis)

    def prepare(self, node, preparation):
        """``M * 2**-s = s_c / ŝ`` and the zero-point for every entry of the timestep table."""
        (carrier,) = preparation.inputs(node)
        output = preparation.output(node)
        factor = dyadic(carrier.scale / np.array(output.scales), what=node.name)
        return {
            "multiplier": factor.multiplier,
            "shift": factor.shift,
            "zero_point": np.array(output.zero_points, np.int64),
            **({"exponents": np.array(output.exponents, np.int64)} if output.exponents else {}),
        }

    def pack(self, node, arrays):
        """Multiplier, shift and zero-point of an entry side by side; the signs of a block; exponents."""
        numbers = np.broadcast_arrays(*(arrays[name] for name in ("multiplier", "shift", "zero_point")))
        packed = {"factor": np.stack(numbers, axis=-1), "signs": signs_of(transform_of(node))}
        return packed | {name: arrays[name] for name in ("exponents",) if name in arrays}

    def integer(self, node, arrays, inputs, output):
        """Kernel ``quantize_transformed``: butterflies, one rescale; blocks of one without a transform."""
        from hqsim.kernels.transform import quantize_transformed

        packed = arrays if "factor" in arrays else self.pack(node, arrays)
        if "exponents" in packed:
            return self._by_channel(packed, inputs[0], output)
        x, order = in_memory_order(inputs[0])
        along_width = False
        if len(packed["signs"]) > 1:
            along_width = node.attributes["hadamard_axis"] != "channel"
            if x.ndim == 4 and order != CHANNELS_FIRST:
                x, order = channels_last(x), CHANNELS_FIRST
        codes = np.empty(x.shape, output.dtype)
        view = (-1, *x.shape[-2:]) if along_width else (1, -1, 1)
        saturated = quantize_transformed(
            x.reshape(view), packed["signs"], packed["factor"], output.low, output.high, codes.reshape(view)
        )
        return codes.transpose(order), saturated

    def _by_channel(self, packed, x, output):
        """Kernel ``quantize_by_channel``, channels last."""
        from hqsim.kernels.transform import quantize_by_channel

        rows = channels_last(x)
        codes = np.empty(rows.shape, output.dtype)
        view = (-1, rows.shape[-1])
        factors = packed["signs"], packed["factor"], packed["exponents"]
        limits = output.even.low, output.even.high
        saturated = quantize_by_channel(rows.reshape(view), *factors, *limits, codes.reshape(view))
        return channels_first(codes), int(saturated)

    def exact(self, node, arrays, inputs, output):
        """Dense +-1 matrix, a plain rescale, the zero-point; a power of two per channel."""
        spread = dense_transform(
            inputs[0], transform_of(node), node.attributes["channel_axis"], inverse=False
        ).astype(np.int64)
        exponents = arrays.get("exponents", np.zeros(1, np.int64))
        powers = along_channels(exponents, node.attributes["channel_axis"], spread.ndim)
        places = np.minimum(arrays["shift"] + powers, LARGEST_SHIFT)
        rounded = shift_round_half_up(spread * arrays["multiplier"], places)
        codes, saturated = exact_clamp(rounded + arrays["zero_point"], output.even)
        return (codes.astype(np.int64) << powers).astype(output.dtype), saturated

    def record(self, node, context):
        """Forward blocks, one requantization per element, a factor (and a zero-point) per timestep."""
        output = context.uses[node.name]
        symmetric = node.attributes.get("symmetric", True)
        table_bytes = FACTOR_BYTES if symmetric else FACTOR_BYTES + output.bits / 8
        exponent_bits = context.formats[node.name].spread.bit_length()
        exponent_bytes = exponent_bits / 8 * node.type.shape[node.integer("channel_axis") - 1]
        return self.vector_record(
            node,
            context,
            vector={"requantize": output.elements},
            hadamard=hadamard_work(node, output.elements, "forward"),
            table_bytes=exponent_bytes + table_bytes,
            table_bytes_all_steps=exponent_bytes + table_bytes * context.entries(node),
        )


def hadamard_work(node: Node, elements: int, direction: str) -> tuple[HadamardWork, ...]:
    """Return the transform work on ``elements`` of a node, empty without a transform."""
    transform = transform_of(node)
    if transform is None:
        return ()
    work = HadamardWork(
        kind=str(node.attributes.get("hadamard_kind", "single")),
        axis=transform.axis,
        order=transform.order,
        blocks=elements // transform.size,
        direction=direction,
    )
    return (work,)
