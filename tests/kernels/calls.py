"""One small call of every public kernel: enough work for several tiles, and something that saturates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hqsim.kernels.group_norm import group_normalize
from hqsim.kernels.halves import join_taps
from hqsim.kernels.lut import gate
from hqsim.kernels.panels import _fill_panels
from hqsim.kernels.product import multiply_codes, multiply_sums
from hqsim.kernels.rescale import (
    add_rescaled,
    look_up,
    multiply_rescaled,
    rescale,
    rescale_runs,
    rescale_sums,
)
from hqsim.kernels.softmax import exponentials, softmax
from hqsim.kernels.tile import CHUNK_BYTES, EIGHT, HAS_VNNI, PORTABLE
from hqsim.kernels.transform import invert_lanes, invert_rows, quantize_lanes, quantize_rows
from hqsim.kernels.transform_channels import pick_codes
from tests.kernels.accumulate_calls import accumulate_calls
from tests.kernels.operator_calls import operator_calls
from tests.kernels.products import Layer

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A kernel and its arguments; it writes some of the arrays and may return numbers."""


def make_calls(scale: int) -> dict[str, Call]:
    """Return the calls; lengths grow with ``scale``. The same seed, so the same codes, every time."""
    rng = np.random.default_rng(7)

    def codes(low: int, high: int, shape: tuple[int, ...], dtype: type = np.int16) -> np.ndarray:
        return rng.integers(low, high + 1, shape).astype(dtype)

    def ints(*values: int) -> tuple[np.int64, ...]:
        return tuple(np.int64(value) for value in values)

    limits = ints(-8, 7)
    return (
        _product_calls(scale, rng)
        | _transform_calls(scale, rng)
        | {
            "_fill_panels": (
                _fill_panels,
                (
                    codes(-128, 127, (3 * scale * 37 * 6,), np.int8),
                    (222, 6, 1),
                    6,
                    True,
                    False,
                    _out((3 * scale, 512), np.uint8),
                    _out((3 * scale, 37), np.int32),
                ),
            ),
            "rescale": (
                rescale,
                (
                    codes(-300, 300, (700 * scale,)),
                    *ints(20000, 19, 900, 1),
                    *limits,
                    _out((700 * scale,), np.int8),
                ),
            ),
            "rescale_runs": (
                rescale_runs,
                (
                    codes(-300, 300, (70 * scale,)),
                    *ints(20000, 19),
                    *limits,
                    *(7, 9),
                    _out((90 * scale,), np.int8),
                ),
            ),
            "multiply_rescaled": (
                multiply_rescaled,
                (
                    codes(-200, 200, (90 * scale,)),
                    9,
                    codes(-200, 200, (80 * scale,)),
                    *(8, 7),
                    *ints(20000, 26),
                    *limits,
                    _out((70 * scale,), np.int16),
                ),
            ),
            "add_rescaled": (
                add_rescaled,
                (
                    codes(-200, 200, (700 * scale,)),
                    codes(-200, 200, (700 * scale,)),
                    *ints(20000, -16384, 19),
                    *limits,
                    _out((700 * scale,), np.int16),
                ),
            ),
            "rescale_sums": (
                rescale_sums,
                (
                    codes(-(2**20), 2**20, (2, 3 * scale, 5), np.int64),
                    codes(2**14, 2**15 - 1, (2, 5), np.int64),
                    codes(-(2**30), 2**30, (5,), np.int64),
                    codes(30, 33, (5,), np.int64),
                    *limits,
                    _out((3 * scale, 5), np.int16),
                ),
            ),
            "look_up": (
                look_up,
                (
                    codes(-128, 127, (1100 * scale,), np.int8),
                    *(11, 7),
                    np.int32(-128),
                    codes(-200, 200, (256,), np.int32),
                    _out((700 * scale,), np.int16),
                ),
            ),
            "group_normalize": (
                group_normalize,
                (
                    codes(-3000, 3000, (2, 20 * scale, 4)),
                    2,
                    *ints(6, 1000),
                    codes(-(2**22), 2**22, (4,), np.int64),
                    np.int64(14),
                    codes(-(2**17), 2**17, (4,), np.int64),
                    *limits,
                    _out((2, 20 * scale, 4), np.int16),
                ),
            ),
            "exponentials": (
                exponentials,
                (
                    exponential_table(256.0),
                    exponential_table(1.0),
                    np.int64(8),
                    _out((300 * scale,), np.int32),
                ),
            ),
            "softmax": (
                softmax,
                (
                    codes(-2000, 2000, (3 * scale, 5)),
                    np.linspace(2**24, 0, 4001).astype(np.int32),
                    np.int64(16),
                    _out((3 * scale, 5), np.uint16),
                ),
            ),
            "gate": (
                gate,
                (
                    codes(-32768, 32767, (70 * scale * scale,)),
                    sigmoid_table(),
                    *ints(20, 16384, 13, 20000, 52),
                    *limits,
                    _out((70 * scale * scale,), np.int16),
                ),
            ),
        }
        | operator_calls(scale)
        | accumulate_calls(scale)
    )


def _product_calls(scale: int, rng: np.random.Generator) -> dict[str, Call]:
    """A padded convolution of two groups in the fastest form, rows halved; and its sums."""
    form = EIGHT if HAS_VNNI else PORTABLE
    x = rng.integers(-128, 128, (2, 3 * scale, 4, 12))
    layer = Layer(x, rng.integers(-7, 8, (80, 6, 3, 3)), padding=(1, 1, 1, 1), groups=2)
    rows, outputs = layer.kernel_shape[1:]
    halves = rng.integers(-500, 500, (2, 2 * rows // 4, outputs)).astype(np.int32)
    numbers = np.full(outputs, 20000, np.int32), np.full(outputs, 5), 8, np.full(outputs, 24)
    return {
        "multiply_sums": (
            multiply_sums,
            (*layer.arguments(form), CHUNK_BYTES, _out(layer.kernel_shape, np.int64)),
        ),
        "join_taps": (
            join_taps,
            (
                rng.integers(-500, 500, (3, 8 * scale, 20)).astype(np.int32),
                np.array([[-1, 0, 1], [0, 0, 1], [0, 1, -1]]),
                2,
                _out((1, 4 * scale * 3, 20), np.int32),
            ),
        ),
        "multiply_codes": (
            multiply_codes,
            (
                *layer.arguments(form),
                halves,
                np.array([0, 1, 1, 0]),
                *numbers,
                -8,
                7,
                _out(layer.kernel_shape, np.int16),
                _out((2, 0, 0), np.int32),
            ),
        ),
    }


def _transform_calls(scale: int, rng: np.random.Generator) -> dict[str, Call]:
    """Lanes and rows for two threads, the inverse halved: in 16 bits, and once more in 32."""
    signs, calls = np.array([1, 1, 1, -1]), {}
    trials = rng.integers(-9, 9, (3, 3 * scale, 5)).astype(np.int16)
    exponents = np.array([0, 1, 2, 0, 1])
    calls["pick_codes"] = pick_codes, (trials, exponents, -8, 7, 2, _out(trials.shape[1:], np.int8))
    for kind, quantize, invert in (
        ("lanes", quantize_lanes, invert_lanes),
        ("rows", quantize_rows, invert_rows),
    ):
        shape = (2 * scale, 8, 70 if kind == "lanes" else 1)
        factor = np.array([17000, 20, 1])
        x = rng.integers(-300, 301, shape).astype(np.int16)
        calls[f"quantize_{kind}"] = quantize, (x, signs, factor, -8, 7, 2, _out(shape, np.int8))
        for bits, dtype in (("", np.int16), ("_in_32_bits", np.int32)):
            codes = rng.integers(-8, 8, shape).astype(np.int8)
            results = (_out((2 * scale, 12, 1), np.int8),)
            if kind == "lanes":
                results = _out(shape, np.int8), _out((2 * scale, 2, 70), np.uint8)
            scratch = np.empty(0, dtype)
            calls[f"invert_{kind}{bits}"] = invert, (codes, signs, np.int64(1), True, scratch, 2, *results)
    return calls


def exponential_table(step: float) -> np.ndarray:
    """256 entries of ``exp(-step * i / 512)`` in 24 fractional bits."""
    return np.array([int(np.exp(-step * i / 512) * 2**24 + 0.5) for i in range(256)], np.int64)


def sigmoid_table() -> np.ndarray:
    """513 entries of ``1 - sigmoid(i / 32)`` in 20 fractional bits."""
    return np.array([int(2**20 / (1 + np.exp(i / 32)) + 0.5) for i in range(513)], np.int64)


def _out(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.full(shape, 99, dtype)
