"""How a product realises its layer's transform: run-time inverse, folded weights, parity, or none (double).

    single, runtime   a = ((q - z) Ĥ) D                   butterflies in front of the multiplier
    single, fold      W' = Ĥ (D W_q), acc = (q - z) W'    the inverse moved into the weights, offline
    single, parity    a = 2 a' + p                        one bit p per block; a' is one bit narrower
    double            acc = (q - z) Q(Ĥ (D W))            weights quantized transformed, no inverse

The three forms of the single transform give the same sums. What holds of ranges and widths follows here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from hqsim.graph import Node
from hqsim.numerics import Format, Transform, operand_range, signed_bits
from hqsim.ops.accumulator import accumulator_of
from hqsim.ops.quantize import transform_of


def is_double(node: Node) -> bool:
    """Whether the layer's weights are quantized in the transformed domain."""
    return node.attributes.get("hadamard_kind") == "double" and transform_of(node) is not None


def folds(node: Node) -> bool:
    """Whether the inverse transform is part of the weights."""
    return node.attributes.get("hadamard_realisation") == "fold" and transform_of(node) is not None


def has_parity(node: Node) -> bool:
    """Whether the operand is multiplied as twice its half and one parity bit per block."""
    return node.attributes.get("hadamard_realisation") == "parity" and transform_of(node) is not None


def can_fold(node: Node) -> bool:
    """Whether a fold exists: it mixes the weights of a block, along channels, where no group cuts a block."""
    group_size, sides = node.attributes.get("group_size"), node.attributes.get("sides")
    cut = False
    if isinstance(group_size, int) and group_size % (1 << node.integer("hadamard_order")):
        cut = not isinstance(sides, tuple) or group_size < max(sides)
    return node.attributes["hadamard_axis"] == "channel" and not cut


def realised(node: Node, realisation: str) -> Node:
    """Return the product with another realisation of its single transform."""
    attributes = {**node.attributes, "hadamard_realisation": realisation}
    return replace(node, attributes=MappingProxyType(attributes))


def realisation_of(node: Node) -> str | None:
    """Return ``runtime``, ``fold``, ``parity`` or ``double``, None without a transform."""
    if transform_of(node) is None:
        return None
    return "double" if is_double(node) else str(node.attributes.get("hadamard_realisation", "runtime"))


def alternatives(node: Node) -> tuple[str, ...]:
    """Return the other realisations of a single transform that give the same codes.

    Exact sums are the same under all three. A wrapping accumulator gives the same for all but parity, whose
    two sums wrap apart; a saturating one clamps other partial sums under each.
    """
    own, accumulator = realisation_of(node), accumulator_of(node)
    if own in (None, "double") or (accumulator and accumulator.saturates):
        return ()
    names = ["runtime", "fold"] if can_fold(node) else ["runtime"]
    if accumulator is None:
        names.append("parity")
    elif own == "parity":
        return ()
    return tuple(name for name in names if name != own)


def inverse_of(node: Node) -> Transform | None:
    """Return the inverse transform that runs in front of the multiplier, None where there is none."""
    return None if is_double(node) or folds(node) else transform_of(node)


def multiplier_range(node: Node, operand: Format) -> tuple[int, int]:
    """Return the range of ``a``: codes less their zero-point, through the inverse, at every timestep."""
    inverse = inverse_of(node)
    order = inverse.order if inverse else 0
    ranges = [operand_range(operand.low - z, operand.high - z, order) for z in operand.zero_points]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def multiplier_bits(node: Node, operands: Sequence[Format]) -> int:
    """Return the width that the multiplier needs for a layer's inputs, or for ``a`` of ``a @ b``.

    Unsigned codes that meet no inverse are counted with their own bits, for a multiplier that takes unsigned
    times signed: the share of their zero-point, ``-z`` times the sum of the weights, is a constant.
    """
    sides = operands if "weight" in node.parameters else operands[:1]
    return max(_bits(node, side) for side in sides)


def _bits(node: Node, operand: Format) -> int:
    if not operand.signed and inverse_of(node) is None:
        return operand.bits
    low, high = multiplier_range(node, operand)
    return signed_bits(low >> 1, high >> 1) if has_parity(node) else signed_bits(low, high)
