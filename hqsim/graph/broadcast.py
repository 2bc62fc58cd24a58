"""Broadcasting of the second operand of a sum or product, as the integers have it."""

from __future__ import annotations

from collections.abc import Sequence


def repeated_axes(large: Sequence[int], small: Sequence[int]) -> tuple[int, int] | None:
    """Return the run ``[first, last)`` of axes along which ``small`` is repeated to give ``large``.

    An empty run for equal shapes, None where the shapes do not fit.
    """
    if len(large) != len(small):
        return None
    axes = [axis for axis, (a, b) in enumerate(zip(large, small, strict=True)) if a != b]
    if not axes:
        return 0, 0
    run = axes[0], axes[-1] + 1
    return run if all(small[axis] == 1 for axis in range(*run)) else None
