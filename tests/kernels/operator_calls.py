"""One small call of every kernel of the element-wise operators, in the manner of ``calls.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hqsim.kernels.broadcast import add_broadcast, add_constant, multiply_broadcast
from hqsim.kernels.layer_norm import normalize_rows
from hqsim.kernels.pool import average_pool

Call = tuple[Callable[..., Any], tuple[Any, ...]]


def operator_calls(scale: int) -> dict[str, Call]:
    """Return the calls; lengths grow with ``scale``."""
    rng = np.random.default_rng(11)

    def codes(low: int, high: int, shape: tuple[int, ...], dtype: type = np.int16) -> np.ndarray:
        return rng.integers(low, high + 1, shape).astype(dtype)

    def out(*shape: int) -> np.ndarray:
        return np.full(shape, 99, np.int16)

    ints = np.int64
    low, high = ints(-100), ints(99)
    pixels = (3 * scale, 4, 5)
    return {
        "add_broadcast": (
            add_broadcast,
            (
                codes(-200, 200, pixels),
                codes(-200, 200, (3 * scale, 1, 5)),
                ints(20000),
                ints(-16384),
                ints(15),
                low,
                high,
                out(*pixels),
            ),
        ),
        "multiply_broadcast": (
            multiply_broadcast,
            (
                codes(-200, 200, pixels),
                codes(-200, 200, (3 * scale, 4, 1)),
                ints(20000),
                ints(22),
                low,
                high,
                out(*pixels),
            ),
        ),
        "add_constant": (
            add_constant,
            (
                codes(-200, 200, (6 * scale, 5)),
                codes(-(2**14), 2**14, (2, 5), ints),
                ints(20000),
                ints(15),
                ints(8),
                low,
                high,
                out(6 * scale, 5),
            ),
        ),
        "normalize_rows": (
            normalize_rows,
            (
                codes(-3000, 3000, (4 * scale, 10)),
                ints(6),
                ints(1000),
                codes(-(2**22), 2**22, (10,), ints),
                ints(15),
                codes(-(2**17), 2**17, (10,), ints),
                low,
                high,
                out(4 * scale, 10),
            ),
        ),
        "average_pool": (
            average_pool,
            (codes(-200, 200, (2, 4 * scale, 6, 3)), ints(2), ints(2), out(2, 2 * scale, 3, 3)),
        ),
    }
