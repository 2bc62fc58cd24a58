"""One small call of every public kernel: enough work for several tiles, and something that saturates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hqsim.kernels.conv import conv2d_accumulate
from hqsim.kernels.elementwise import add_rescaled, requantize
from hqsim.kernels.fwht import inverse_blocks, quantize_blocks
from hqsim.kernels.gemm import matmul_accumulate
from hqsim.kernels.lut import gate
from hqsim.kernels.norm import normalize
from hqsim.kernels.softmax import softmax

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A kernel and its arguments; the last one is the array that it writes."""


def make_calls(scale: int) -> dict[str, Call]:
    """Return the calls; lengths grow with ``scale``. The same seed, so the same codes, every time."""
    rng = np.random.default_rng(7)

    def codes(low: int, high: int, shape: tuple[int, ...], dtype: type = np.int16) -> np.ndarray:
        return rng.integers(low, high + 1, shape).astype(dtype)

    low, high = np.int64(-8), np.int64(7)
    ints = np.int64
    weight = codes(-7, 7, (5, 2 * 9))
    return {
        "matmul_accumulate": (
            matmul_accumulate,
            (
                codes(-256, 240, (2, 5 * scale, 9)),
                codes(-7, 7, (2, 9, 6 * scale)),
                _out((2, 5 * scale, 6 * scale), np.int32),
            ),
        ),
        "matmul_accumulate wide": (
            matmul_accumulate,
            (
                codes(-256, 240, (2, 5 * scale, 9)),
                codes(-7, 7, (1, 9, 6 * scale)),
                _out((2, 5 * scale, 6 * scale), np.int64),
            ),
        ),
        "conv2d_accumulate": (
            conv2d_accumulate,
            (
                codes(-256, 240, (2, 2, 3 * scale, 4)),
                weight,
                (3, 3),
                1,
                (1, 1),
                4,
                _out((2, 5, 3 * scale * 4), np.int32),
            ),
        ),
        "conv2d_accumulate wide": (
            conv2d_accumulate,
            (
                codes(-256, 240, (2, 2, 3 * scale, 4)),
                weight,
                (3, 3),
                1,
                (1, 1),
                4,
                _out((2, 5, 3 * scale * 4), np.int64),
            ),
        ),
        "requantize": (
            requantize,
            (
                codes(-(2**20), 2**20, (3 * scale, 2, 3), np.int32),
                np.array([16384, 32767]),
                np.array([31, 33]),
                np.array([900, -300]),
                ints(8),
                low,
                high,
                _out((3 * scale, 2, 3), np.int8),
            ),
        ),
        "add_rescaled": (
            add_rescaled,
            (
                codes(-200, 200, (3 * scale, 4)),
                codes(-200, 200, (3 * scale, 1)),
                ints(20000),
                ints(-16384),
                ints(19),
                low,
                high,
                _out((3 * scale, 4), np.int16),
            ),
        ),
        "quantize_blocks": (
            quantize_blocks,
            (
                codes(-300, 300, (2 * scale, 8, 3)),
                np.array([1, 1, 1, -1]),
                ints(17000),
                ints(20),
                low,
                high,
                _out((2 * scale, 8, 3), np.int8),
            ),
        ),
        "inverse_blocks": (
            inverse_blocks,
            (
                codes(-8, 7, (2 * scale, 8, 3), np.int8),
                np.array([1, 1, 1, -1]),
                _out((2 * scale, 8, 3), np.int16),
            ),
        ),
        "normalize": (
            normalize,
            (
                codes(-3000, 3000, (4 * scale, 2, 5)),
                ints(6),
                ints(1000),
                codes(-(2**22), 2**22, (2, 2), ints),
                ints(18),
                codes(-(2**17), 2**17, (2, 2), ints),
                low,
                high,
                _out((4 * scale, 2, 5), np.int16),
            ),
        ),
        "softmax": (
            softmax,
            (
                codes(-2000, 2000, (3 * scale, 5)),
                exponential_table(256.0),
                exponential_table(1.0),
                ints(8),
                ints(16),
                _out((3 * scale, 5), np.int32),
            ),
        ),
        "gate": (
            gate,
            (
                codes(-32768, 32767, (70 * scale * scale,)),
                sigmoid_table(),
                ints(20),
                ints(16384),
                ints(13),
                ints(20000),
                ints(52),
                low,
                high,
                _out((70 * scale * scale,), np.int16),
            ),
        ),
    }


def exponential_table(step: float) -> np.ndarray:
    """256 entries of ``exp(-step * i / 512)`` in 24 fractional bits."""
    return np.array([int(np.exp(-step * i / 512) * 2**24 + 0.5) for i in range(256)], np.int64)


def sigmoid_table() -> np.ndarray:
    """513 entries of ``1 - sigmoid(i / 32)`` in 20 fractional bits."""
    return np.array([int(2**20 / (1 + np.exp(i / 32)) + 0.5) for i in range(513)], np.int64)


def _out(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.full(shape, 99, dtype)
