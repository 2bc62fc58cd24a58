"""Integer matrix products: int16 operands, exact sums in the accumulator type of the result.

The caller proves that the sums fit the accumulator (int32) or asks for the wide path (int64).
"""

from __future__ import annotations

import numpy as np
from numba import prange

from hqsim.kernels.jit import helper, kernel

COLUMNS = 128
ROWS = 16


@helper
def _four(rows, r, k):
    return (
        np.int64(rows[r, k]),
        np.int64(rows[r, k + 1]),
        np.int64(rows[r, k + 2]),
        np.int64(rows[r, k + 3]),
    )


@helper
def multiply_panel(rows, panel, sums):
    """Add ``rows [r, k] @ panel [k, v]`` to ``sums [r, v]``, four rows and four ``k`` at a time."""
    r_count, k_count = rows.shape
    v_count = panel.shape[1]
    for r in range(0, r_count - 3, 4):
        for k in range(0, k_count - 3, 4):
            a0, a1, a2, a3 = _four(rows, r, k)
            b0, b1, b2, b3 = _four(rows, r + 1, k)
            c0, c1, c2, c3 = _four(rows, r + 2, k)
            d0, d1, d2, d3 = _four(rows, r + 3, k)
            for v in range(v_count):
                p0, p1, p2, p3 = panel[k, v], panel[k + 1, v], panel[k + 2, v], panel[k + 3, v]
                sums[r, v] += a0 * p0 + a1 * p1 + a2 * p2 + a3 * p3
                sums[r + 1, v] += b0 * p0 + b1 * p1 + b2 * p2 + b3 * p3
                sums[r + 2, v] += c0 * p0 + c1 * p1 + c2 * p2 + c3 * p3
                sums[r + 3, v] += d0 * p0 + d1 * p1 + d2 * p2 + d3 * p3
        for k in range(k_count // 4 * 4, k_count):
            for j in range(4):
                a0 = np.int64(rows[r + j, k])
                for v in range(v_count):
                    sums[r + j, v] += a0 * panel[k, v]
    for r in range(r_count // 4 * 4, r_count):
        for k in range(k_count):
            a0 = np.int64(rows[r, k])
            for v in range(v_count):
                sums[r, v] += a0 * panel[k, v]


@kernel
def matmul_accumulate(a, b, sums):
    """Write ``a [count, m, k] @ b [count or 1, k, n]`` into ``sums [count, m, n]``.

    ``a`` and ``b`` are int16, ``sums`` is int32 or int64. Threads take disjoint tiles of ``sums``.
    """
    count, m, _ = a.shape
    n = b.shape[2]
    shared = b.shape[0] == 1
    row_tiles = (m + ROWS - 1) // ROWS
    column_tiles = (n + COLUMNS - 1) // COLUMNS
    for tile in prange(count * row_tiles * column_tiles):
        index = tile // (row_tiles * column_tiles)
        row = tile // column_tiles % row_tiles * ROWS
        column = tile % column_tiles * COLUMNS
        row_end, column_end = min(row + ROWS, m), min(column + COLUMNS, n)
        panel = b[0 if shared else index, :, column:column_end].copy()
        part = np.zeros((row_end - row, column_end - column), sums.dtype)
        multiply_panel(a[index, row:row_end], panel, part)
        sums[index, row:row_end, column:column_end] = part
