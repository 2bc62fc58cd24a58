"""Segments: the parts of a layer's reduction axis that have a factor of their own.

A layer reads its input channels from one or more *sides* (the split shortcut quantizes the sides of a
concatenation apart), and each side is cut into groups of ``group_size`` channels, the last one shorter where
it does not divide. A segment is one group of one side: one weight scale per output channel, one accumulator,
one factor in the sum before the rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

from hqsim.graph import Node


@dataclass(frozen=True)
class Segment:
    """Channels ``operand`` of the input number ``side``; they meet the channels ``weight`` of the weight."""

    side: int
    operand: slice
    weight: slice

    @property
    def length(self) -> int:
        """Channels of the segment."""
        return int(self.weight.stop - self.weight.start)


def segments_of(node: Node, channels: int) -> tuple[Segment, ...]:
    """Return the segments of a layer whose weight reduces over ``channels`` input channels.

    Attributes: ``sides`` (channels of every input, absent for a single one) and ``group_size`` (absent or
    None for one group per side).
    """
    sides = node.attributes.get("sides") or (channels,)
    size = node.attributes.get("group_size") or channels
    assert isinstance(sides, tuple) and isinstance(size, int)
    segments: list[Segment] = []
    offset = 0
    for side, length in enumerate(sides):
        for first in range(0, length, size):
            last = min(first + size, length)
            segments.append(Segment(side, slice(first, last), slice(offset + first, offset + last)))
        offset += length
    return tuple(segments)
