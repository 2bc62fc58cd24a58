"""The parity term of a convolution whose rows were halved along the width.

All pixels of a block of the transform share a parity, so a window meets few different pieces of blocks: the
*kinds* of a line. The term is made per tap column of the window, one pixel a block, then added up per kind.
"""

from __future__ import annotations

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.lanes import LANE, filled, lane_intrinsic, lane_loop
from hqsim.kernels.threads import part_of, share, team_size


def _plain_add(a, b, total):
    total[:] = a + b


@lane_intrinsic(_plain_add)
def add_rows(typing_context, a, b, total):
    """Write ``a + b``, int32."""

    def emit(step):
        step.store(2, step.builder.add(step.load(0, LANE), step.load(1, LANE)))

    return lane_loop(16, emit, a, b, total)


def _plain_halve(values, halves):
    halves[:] = values >> 1


@lane_intrinsic(_plain_halve)
def _halve_row(typing_context, values, halves):
    """Write ``values >> 1``, int32."""

    def emit(step):
        value = step.load(0, LANE)
        step.store(1, step.builder.ashr(value, filled(value.type, 1)))

    return lane_loop(16, emit, values, halves)


@helper
def _join_lines(worker, threads, sums, blocks, halves):
    parts, lines = sums.shape[0], halves.shape[1] // blocks.shape[1]
    each = sums.shape[1] // lines
    begin, end = part_of(worker, threads, halves.shape[1])
    for row in range(begin, end):
        line, kind = row // blocks.shape[1], row % blocks.shape[1]
        total = halves[0, row]
        total[:] = 0
        for part in range(parts):
            if blocks[part, kind] >= 0:
                add_rows(total, sums[part, line * each + blocks[part, kind]], total)
        _halve_row(total, total)


@kernel
def join_taps(sums, blocks, threads, halves):
    """Add up, and halve, the sums of a window's tap columns.

    ``sums`` int32 ``[tap columns, lines * pixels, outputs]``; ``blocks`` int64 ``[tap columns, kinds]``, the
    pixel of a line that each tap column meets in a window of each kind, -1 for none; ``halves`` int32 ``[1,
    lines * kinds, outputs]``. ``threads`` 0: as many as may be used.
    """
    share(_join_lines, threads if threads > 0 else team_size(), (sums, blocks, halves))
