"""One small call of every kernel of modelled accumulators, in the manner of ``calls.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hqsim.kernels.accumulate import matmul_saturate, wrap

Call = tuple[Callable[..., Any], tuple[Any, ...]]


def accumulate_calls(scale: int) -> dict[str, Call]:
    """Return the calls; lengths grow with ``scale``."""
    rng = np.random.default_rng(13)
    ints = np.int64

    def codes(reach: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return rng.integers(-reach, reach + 1, shape).astype(dtype)

    return {
        "wrap": (wrap, (ints(12), codes(2**13, (50 * scale,), ints))),
        "matmul_saturate": (
            matmul_saturate,
            (
                codes(255, (2, 3 * scale, 9), np.int32),
                codes(7, (2, 9, 5), np.int32),
                ints(12),
                np.full((2, 3 * scale, 5), 99, ints),
            ),
        ),
    }
