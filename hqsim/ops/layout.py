"""How element-wise kernels view arrays: in the order in which they lie in memory, and beside a repeated one.

Four-dimensional codes ``[b, c, h, w]`` may lie channels last, as ``[b, h, w, c]``; results then do too. The
second operand of a sum or product has the first one's shape, or length 1 along one run of neighbouring axes:
``[c, 1, 1]`` over pixels, ``[1, c]`` over tokens.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from hqsim.graph.broadcast import repeated_axes

CHANNELS_LAST = (0, 2, 3, 1)
CHANNELS_FIRST = (0, 3, 1, 2)


def is_channels_last(x: np.ndarray) -> bool:
    """Whether ``x [b, c, h, w]`` lies in memory as ``[b, h, w, c]``."""
    return x.ndim == 4 and not x.flags.c_contiguous and x.transpose(CHANNELS_LAST).flags.c_contiguous


def as_it_lies(x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return ``x``, its channels last where it lies so, and the order of axes that undoes it."""
    if is_channels_last(x):
        return x.transpose(CHANNELS_LAST), CHANNELS_FIRST
    return x, tuple(range(x.ndim))


def as_they_lie(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return :func:`as_it_lies` of ``a``, and ``b`` with its axes in the same order."""
    moved, order = as_it_lies(a)
    return moved, b if moved is a else b.transpose(CHANNELS_LAST), order


def in_memory_order(x: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return ``x`` contiguous, channels last where it lies so, and the order of axes that undoes it."""
    moved, order = as_it_lies(x)
    return np.ascontiguousarray(moved), order


def in_runs(x: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Return the memory that ``x`` lies in, 1-D, its distance from run to run, and the elements of a run.

    A slice along the last axis is read in place, a run for each of its rows; of a contiguous array all is
    one run; anything else is copied.
    """
    if x.flags.c_contiguous:
        return x.reshape(-1), x.size, x.size
    rows = x.reshape(-1, x.shape[-1])
    pitch, rest = divmod(rows.strides[0], x.itemsize)
    if rows.flags.c_contiguous or rows.strides[1] != x.itemsize or rest or pitch < 0:
        return np.ascontiguousarray(rows).reshape(-1), x.size, x.size
    extent = ((len(rows) - 1) * pitch + rows.shape[1],)
    return as_strided(rows, extent, (x.itemsize,)), pitch, rows.shape[1]


def paired_runs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, int, np.ndarray, int, int]:
    """Return memory and pitch of ``a``, those of ``b``, of the same shape, and the run that both have."""
    (first, *lengths_a), (second, *lengths_b) = in_runs(a), in_runs(b)
    run = min(lengths_a[1], lengths_b[1])
    # All is one run: it may be cut anywhere.
    pitch_a, pitch_b = (run if length > run else pitch for pitch, length in (lengths_a, lengths_b))
    return first, pitch_a, second, pitch_b, run


def paired_views(
    a: np.ndarray, b: np.ndarray, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return ``a [outer, middle, inner]``, ``b`` beside it, a new array, and that array in the view of ``a``.

    ``b`` is ``[outer, 1, inner]`` or ``[outer, middle, 1]``. The new array of ``dtype`` has the shape and the
    memory layout of ``a`` (contiguous for ``[1, 1, w]`` beside channels last).
    """
    if is_channels_last(a):
        moved, other = a.transpose(CHANNELS_LAST), b.transpose(CHANNELS_LAST)
        if repeated_axes(moved.shape, other.shape) is not None:
            view, beside, codes, flat = paired_views(moved, other, dtype)
            return view, beside, codes.transpose(CHANNELS_FIRST), flat
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    run = repeated_axes(a.shape, b.shape)
    assert run is not None
    first, last = run
    outer, middle, inner = (
        math.prod(a.shape[:first]),
        math.prod(a.shape[first:last]),
        math.prod(a.shape[last:]),
    )
    if inner == 1:
        shape, repeated = (1, outer, middle), (1, outer, 1)
    else:
        shape, repeated = (outer, middle, inner), (outer, 1, inner)
    codes = np.empty(a.shape, dtype)
    return a.reshape(shape), b.reshape(repeated), codes, codes.reshape(shape)
