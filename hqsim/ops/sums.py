"""The sums of a product, segment by segment, in both forms: operand, exact products, modelled accumulator.

    a      = ((q - z) Ĥ) D                    what the multiplier sees of an operand
    acc[g] = sum(a * w) over segment g        exact, or as an accumulator of P bits gives it

Segments: ``ops/segments.py``. Where the inverse transform happens: ``ops/realisation.py``. Accumulators that
wrap or saturate: ``ops/accumulator.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from hqsim.graph import Node
from hqsim.numerics import Transform
from hqsim.ops.accumulator import (
    Sums,
    accumulator_of,
    saturate_exact,
    saturate_integer,
    wrap_exact,
    wrap_integer,
)
from hqsim.ops.base import Arrays, Operator
from hqsim.ops.operand import Operand, operand_dtype
from hqsim.ops.quantize import (
    blocks_view,
    channels_first,
    channels_last,
    dense_transform,
    lanes_view,
    signs_of,
    transform_of,
)
from hqsim.ops.realisation import folds, has_parity, inverse_of, is_double
from hqsim.ops.segments import Segment, segments_of


class Summing(Operator):
    """An operator whose result starts from sums of products. Subclasses give the product of one segment."""

    channel_axis = -1
    """Axis of the input channels in an operand, and of the output channels in the sums."""

    def accumulate_integer(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Return the exact sums int64 of int16 operands by the kernels.

        ``arrays`` holds ``weight`` (as ``pack_weight`` left it) and ``operand_range`` int64 ``[inputs, 2]``,
        the proved range of the operands.
        """
        raise NotImplementedError(self.name)

    def accumulate_exact(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Return the exact sums int64 of integer operands, plainly."""
        raise NotImplementedError(self.name)

    def unroll(
        self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the product as matrices ``[count, m, k]``, ``[count, k, n]``; terms in the stated order."""
        raise NotImplementedError(self.name)

    def roll(self, node: Node, sums: np.ndarray, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Return the ``[count, m, n]`` sums of :meth:`unroll` in the shape of the layer's result."""
        raise NotImplementedError(self.name)

    def pack_segments(self, node: Node, arrays: Arrays) -> dict[str, Any]:
        """Replace ``weight`` by ``weight.g``, packed for the kernels, per segment ``g``; fold if asked."""
        packed: dict[str, Any] = dict(arrays)
        if "weight" in packed:
            weight = folded_integer(node, packed.pop("weight"))
            accumulator = accumulator_of(node)
            for index, segment in enumerate(segments_of(node, weight.shape[1])):
                part = weight[:, segment.weight]
                if accumulator is None or not accumulator.saturates:
                    part = self.pack_weight(node, part)
                packed[f"weight.{index}"] = part
        return packed

    def pack_weight(self, node: Node, weight: np.ndarray) -> Any:
        """Return the weight of one segment as ``accumulate_integer`` wants it."""
        raise NotImplementedError(self.name)

    def sums_integer(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray]) -> Sums:
        """Return the sums ``[segments, ...]`` by the kernels, and the events of a modelled accumulator."""
        packed = self.pack_segments(node, arrays)
        operands = [
            operand_integer(node, codes, int(zero_point), (int(low), int(high)))
            for codes, zero_point, (low, high) in zip(
                inputs, arrays["zero_points"], arrays["operand_range"], strict=True
            )
        ]
        sums, events = [], 0
        for index, (sides, pieces) in enumerate(self._pieces(node, [operand.codes for operand in operands])):
            own = {}
            if f"weight.{index}" in packed:
                own["weight"] = packed[f"weight.{index}"]
            parts = [
                Operand(piece, operands[side].low, operands[side].high)
                for side, piece in zip(sides, pieces, strict=True)
            ]
            found, count = self._segment_integer(node, own, parts)
            sums.append(found)
            events += count
        return (sums[0][None] if len(sums) == 1 else np.stack(sums)), events

    def _segment_integer(self, node: Node, arrays: Arrays, operands: list[Operand]) -> Sums:
        """The sums of one segment, at once or by parity."""
        if not has_parity(node):
            return self._sums_integer(node, arrays, operands)
        half, bit = operands[0].parity()
        sums, events = self._sums_integer(node, arrays, [half])
        rest, more = self._sums_integer(node, arrays, [bit])
        return (sums << 1) + rest, events + more

    def _sums_integer(self, node: Node, arrays: Arrays, operands: list[Operand]) -> Sums:
        """The sums as the layer's accumulator gives them."""
        accumulator = accumulator_of(node)
        if accumulator is None:
            return self._product_integer(node, arrays, operands), 0
        if not accumulator.saturates:
            return wrap_integer(self._product_integer(node, arrays, operands), accumulator.bits)
        codes = [operand.codes for operand in operands]
        sums, events = saturate_integer(*self.unroll(node, arrays, codes), accumulator.bits)
        return self.roll(node, sums, codes), events

    def _product_integer(self, node: Node, arrays: Arrays, operands: list[Operand]) -> np.ndarray:
        """The exact sums; an operand wider than int16 is multiplied in two halves."""
        total: np.ndarray | None = None
        for parts in product(*(operand.halves() for operand in operands)):
            ranges = np.array([(part.low, part.high) for part, _ in parts], np.int64)
            codes = [part.codes for part, _ in parts]
            sums = self.accumulate_integer(node, {**arrays, "operand_range": ranges}, codes)
            shift = sum(places for _, places in parts)
            if shift:
                sums = sums << shift
            total = sums if total is None else total + sums
        assert total is not None
        return total

    def sums_exact(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray]) -> Sums:
        """Return the sums ``[segments, ...]`` plainly, and the events of a modelled accumulator.

        Exact sums are the same under every realisation and take the run-time inverse; a modelled accumulator
        adds the terms that the layer's own realisation has.
        """
        modelled = accumulator_of(node) is not None
        weight, inverse = arrays.get("weight"), None if is_double(node) else transform_of(node)
        if weight is not None and modelled and folds(node):
            weight, inverse = folded_exact(node, weight), None
        operands = []
        for codes, zero_point in zip(inputs, arrays["zero_points"], strict=True):
            operands.append(operand_exact(node, codes, zero_point, inverse))
        segments = segments_of(node, weight.shape[1]) if weight is not None else ()
        sums, events = [], 0
        for index, (_, pieces) in enumerate(self._pieces(node, operands)):
            own = {} if weight is None else {"weight": weight[:, segments[index].weight]}
            terms = [(1, pieces)]
            if modelled and has_parity(node):
                terms = [(2, [pieces[0] // 2]), (1, [pieces[0] % 2])]
            found = [(factor, *self._sums_exact(node, own, term)) for factor, term in terms]
            sums.append(sum(factor * total for factor, total, _ in found))
            events += sum(count for _, _, count in found)
        return np.stack(sums), events

    def _sums_exact(self, node: Node, arrays: Arrays, operands: list[np.ndarray]) -> Sums:
        accumulator = accumulator_of(node)
        if accumulator is None:
            return self.accumulate_exact(node, arrays, operands), 0
        if not accumulator.saturates:
            return wrap_exact(self.accumulate_exact(node, arrays, operands), accumulator.bits)
        sums, events = saturate_exact(*self.unroll(node, arrays, operands), accumulator.bits)
        return self.roll(node, sums, operands), events

    def _pieces(self, node: Node, operands: list[np.ndarray]) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Yield for every segment the numbers of the operands that it reads, and their channels in it."""
        channels = sum(operand.shape[self.channel_axis] for operand in operands) // groups_of(node)
        segments = segments_of(node, channels)
        for segment in segments:
            codes = operands[segment.side]
            yield (
                [segment.side],
                [codes if len(segments) == len(operands) else self._take(node, codes, segment)],
            )

    def _take(self, node: Node, codes: np.ndarray, segment: Segment) -> np.ndarray:
        """Return the channels of one segment, in every group of a grouped convolution."""
        axis = self.channel_axis % codes.ndim
        outer, inner, groups = codes.shape[:axis], codes.shape[axis + 1 :], groups_of(node)
        view = codes.reshape(*outer, groups, -1, *inner)
        part = view[(slice(None),) * (axis + 1) + (segment.operand,)]
        return part.reshape(*outer, groups * segment.length, *inner)


def groups_of(node: Node) -> int:
    """Return the groups of a convolution, 1 for every other product."""
    groups = node.attributes.get("groups", 1)
    assert isinstance(groups, int)
    return groups


def folded_exact(node: Node, weight: np.ndarray) -> np.ndarray:
    """Return ``W' = Ĥ (D W)`` int64 by a dense matrix where the node folds, else the weight itself."""
    if not folds(node):
        return weight
    return dense_transform(weight, transform_of(node), 1, inverse=False).astype(np.int64)


def folded_integer(node: Node, weight: np.ndarray) -> np.ndarray:
    """``W' = Ĥ (D W)`` int16 by butterflies where the node folds, else the weight itself."""
    transform = transform_of(node)
    if transform is None or not folds(node):
        return weight
    from hqsim.kernels.transform import quantize_transformed

    folded = np.empty(weight.shape, np.int16)
    limits = np.iinfo(np.int16)
    quantize_transformed(
        blocks_view(np.ascontiguousarray(weight, np.int16), transform, 1),
        signs_of(transform),
        np.array([1, 0, 0]),
        int(limits.min),
        int(limits.max),
        blocks_view(folded, transform, 1),
    )
    return folded


def operand_integer(node: Node, codes: np.ndarray, zero_point: int, limits: tuple[int, int]) -> Operand:
    """Return codes less their zero-point, through the integer inverse butterflies where the node has them."""
    inverse, dtype = inverse_of(node), operand_dtype(*limits)
    if inverse is None:
        operand = np.ascontiguousarray(codes, dtype)
        return Operand(operand - dtype(zero_point) if zero_point else operand, *limits)
    from hqsim.kernels.transform import invert_transform

    codes = channels_last(codes)
    operand = np.empty(codes.shape, dtype)
    no_parity = np.empty((0, 0, 0), np.uint8)
    invert_transform(
        lanes_view(codes, inverse),
        signs_of(inverse),
        np.int64(zero_point),
        False,
        lanes_view(operand, inverse),
        no_parity,
    )
    return Operand(channels_first(operand), *limits)


def operand_exact(node: Node, codes: np.ndarray, zero_point: int, inverse: Transform | None) -> np.ndarray:
    """Return codes less their zero-point, through the ``inverse`` as a dense +-1 matrix, int64."""
    axis = node.integer("channel_axis") if inverse else 0
    centred = codes.astype(np.int64) - zero_point
    return dense_transform(centred, inverse, axis, inverse=True).astype(np.int64)
