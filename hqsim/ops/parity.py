"""The second product of the parity realisation, as hardware would do it.

    acc = 2 (a' W) + p S        a = 2 a' + p, one bit p per block of ``n = 2**order`` values

The first product has the narrow operand ``a'``; the second one is small, its first operand has one bit, and
the accumulators of the first start from its sums (a shift by one is wiring).

- Along the channels a block meets, per output and tap, the sum of its ``n`` weights: ``[M, K / n] x
  [K / n, N]``, the block sums ``order`` bits wider than weights, made offline and stored beside them. A block
  that groups of weights or of the convolution cut counts in each of them.
- Along the width all pixels of a block have the same bit, so a row of windows meets few different pieces of
  blocks: ``[M', K] x [K, N]`` with the weights themselves and a row per such piece, shared by all output
  columns that are alike (three of 32 columns for one block of 32 under a 3 x 3 kernel).
"""

from __future__ import annotations

from dataclasses import replace

from hqsim.graph import MatrixWork, Node, ParityTerm
from hqsim.numerics import Transform, signed_bits
from hqsim.ops.segments import segments_of
from hqsim.ops.sums import groups_of


def parity_term(node: Node, matrix: MatrixWork, transform: Transform, rows: int | None) -> ParityTerm:
    """Return the second product of a layer whose first one is ``matrix``; ``rows`` along the width."""
    if rows is not None:
        return ParityTerm(
            matrix=replace(matrix, m=rows, a_storage_bits=1, a_multiplier_bits=1, conv=None), block_sums=False
        )
    groups = groups_of(node)
    taps = matrix.conv.kernel_h * matrix.conv.kernel_w if matrix.conv else 1
    blocks = blocks_met(node, matrix.k // taps, groups, transform.size)
    reach = ((1 << (node.integer("weight_bits") - 1)) - 1) * transform.size
    bits = signed_bits(-reach, reach)
    product = replace(
        matrix,
        k=taps * blocks,
        a_storage_bits=1,
        a_multiplier_bits=1,
        w_storage_bits=bits,
        w_multiplier_bits=bits,
        conv=replace(matrix.conv, in_channels=blocks * groups) if matrix.conv else None,
    )
    return ParityTerm(matrix=product, block_sums=True)


def blocks_met(node: Node, depth: int, groups: int, size: int) -> int:
    """Return the blocks of ``size`` channels that the segments of a group meet, of the group with most.

    ``depth`` is the channels of a group. Every side has blocks of its own.
    """
    parts = [segment.operand for segment in segments_of(node, depth)]
    return max(
        sum((first + part.stop - 1) // size - (first + part.start) // size + 1 for part in parts)
        for first in range(0, groups * depth, depth)
    )
