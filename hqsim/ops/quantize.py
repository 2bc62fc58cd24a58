"""The operand quantizer: carrier codes, transformed in blocks, to low-bit operand codes.

``q = clamp(round_half_up(FWHT(signs * c) * M * 2**-s))`` with ``M * 2**-s = s_c / ŝ``. The operand scale
``ŝ`` lives in the un-normalised domain of the +-1 transform, one per calibrated timestep.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hqsim.graph import HadamardWork, Node
from hqsim.numerics import Transform, block_signs, dyadic, shift_round_half_up, sylvester
from hqsim.ops.base import Operator, exact_clamp, scalar


def transform_of(node: Node) -> Transform | None:
    """Return the transform that a node's attributes describe (a quantizer or the product after it)."""
    if not node.attributes.get("hadamard_order"):
        return None
    return Transform(
        axis="channel" if node.attributes["hadamard_axis"] == "channel" else "width",
        order=node.integer("hadamard_order"),
        signs=bool(node.attributes["hadamard_signs"]),
    )


def signs_of(transform: Transform | None) -> np.ndarray:
    """Return the int64 signs of one block (all +1 without signs, a single +1 without a transform)."""
    if transform is None:
        return np.ones(1, np.int64)
    return block_signs(transform.order) if transform.signs else np.ones(transform.size, np.int64)


def blocks_view(array: np.ndarray, transform: Transform | None, channel_axis: int) -> np.ndarray:
    """View ``array`` as ``[outer, length, inner]`` with the transformed axis in the middle."""
    axis = channel_axis if transform and transform.axis == "channel" else array.ndim - 1
    shape = array.shape
    return array.reshape(
        int(np.prod(shape[:axis])), shape[axis], int(np.prod(shape[axis + 1 :], dtype=np.int64))
    )


def dense_transform(array: np.ndarray, transform: Transform | None, channel_axis: int, *, inverse: bool):
    """Apply the transform by a dense +-1 matrix in float64 (exact: sums stay far below 2**53)."""
    if transform is None:
        return array.astype(np.int64)
    view = np.moveaxis(blocks_view(array, transform, channel_axis), 1, 2).astype(np.float64)
    n = transform.size
    matrix = np.diag(signs_of(transform)) @ sylvester(transform.order)
    if inverse:
        matrix = matrix.T
    blocks = view.reshape(*view.shape[:2], -1, n) @ matrix.astype(np.float64)
    return np.moveaxis(blocks.reshape(view.shape), 2, 1).reshape(array.shape).astype(np.int64)


class Quantize(Operator):
    """Carrier to operand; the width rule is the recipe's, the storage is the operand's bits."""

    name = "quantize"
    per_step = frozenset({"multiplier", "shift"})

    def evaluate(self, node, inputs, parameters):
        """The float model does not quantize."""
        return inputs[0]

    def fake(self, node, x, scale, output):
        """Return the operand's codes (as floats) and the value that the product sees (torch, any float).

        ``x̂ = ŝ / n * signs * (q Ĥ)``: quantize in the transformed domain, transform back.
        """
        codes = (self.transformed(node, x) / scale + 0.5).floor().clamp(output.low, output.high)
        return codes, self.transformed(node, codes, inverse=True) * (scale / self._size(node))

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

    @staticmethod
    def _size(node):
        transform = transform_of(node)
        return transform.size if transform else 1

    def prepare(self, node, preparation):
        """``M * 2**-s = s_c / ŝ`` for every entry of the timestep table."""
        (carrier,) = preparation.inputs(node)
        scales = np.array(preparation.output(node).scales)
        factor = dyadic(carrier.scale / scales, what=node.name)
        return {"multiplier": factor.multiplier, "shift": factor.shift}

    def integer(self, node, arrays, inputs, output):
        """Kernel ``quantize_blocks``: butterflies, one rescale."""
        from hqsim.kernels.fwht import quantize_blocks

        transform = transform_of(node)
        x = np.ascontiguousarray(inputs[0])
        codes = np.empty(x.shape, output.dtype)
        saturated = quantize_blocks(
            blocks_view(x, transform, node.attributes["channel_axis"]),
            signs_of(transform),
            scalar(arrays["multiplier"]),
            scalar(arrays["shift"]),
            np.int64(output.low),
            np.int64(output.high),
            blocks_view(codes, transform, node.attributes["channel_axis"]),
        )
        return codes, int(saturated)

    def exact(self, node, arrays, inputs, output):
        """Dense +-1 matrix, then a plain rescale."""
        spread = dense_transform(
            inputs[0], transform_of(node), node.attributes["channel_axis"], inverse=False
        )
        return exact_clamp(shift_round_half_up(spread * arrays["multiplier"], arrays["shift"]), output)

    def record(self, node, context):
        """Forward blocks and one requantization per element."""
        record = self.vector_record(node, context)
        elements = record.output.elements
        return replace(
            record,
            vector={"requantize": elements},
            hadamard=hadamard_work(node, elements, "forward"),
            table_bytes=3.0,
            table_bytes_all_steps=3.0 * context.table_steps,
        )


def hadamard_work(node: Node, elements: int, direction: str) -> tuple[HadamardWork, ...]:
    """Return the transform work on ``elements`` of a node, empty without a transform."""
    transform = transform_of(node)
    if transform is None:
        return ()
    work = HadamardWork(
        kind="single",
        axis=transform.axis,
        order=transform.order,
        blocks=elements // transform.size,
        direction=direction,
    )
    return (work,)
