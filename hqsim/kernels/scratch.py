"""Room for intermediate values that starts with a cache line: a vector of 64 bytes then never lies in two."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper

LINE_BYTES = 64


@helper
def scratch(count):
    """Return uninitialised uint8 ``[count]`` that starts with a cache line."""
    room = np.empty(count + LINE_BYTES, np.uint8)
    first = -np.int64(room.ctypes.data) % LINE_BYTES
    return room[first : first + count]


@helper
def from_line(room, columns):
    """Return ``columns`` columns of ``room``, whose rows take whole lines and a line more than they need.

    Each row starts with a cache line. (A longer ``scratch`` in another shape: numba reshapes with floats.)
    """
    first = -np.int64(room.ctypes.data) % LINE_BYTES // room.itemsize
    return room[:, first : first + columns]
