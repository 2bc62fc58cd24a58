"""Convolution: strides, paddings on each side, kernels, tiles, both accumulators."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.kernels.conv import PIXELS, conv2d_accumulate
from tests import naive

CASES = [
    # channels, height, width, outputs, kernel, stride, (top, left, bottom, right)
    (1, 1, 1, 1, (1, 1), 1, (0, 0, 0, 0)),
    (3, 4, 5, 4, (1, 1), 1, (0, 0, 0, 0)),
    (2, 5, 4, 5, (3, 3), 1, (1, 1, 1, 1)),
    (2, 6, 6, 3, (3, 3), 2, (0, 0, 1, 1)),
    (2, 5, 7, 3, (3, 3), 2, (1, 1, 1, 1)),
    (1, 3, 4, 2, (2, 3), 1, (2, 0, 0, 1)),
    (1, 2, 2, 1, (3, 3), 1, (2, 2, 2, 2)),
    (1, 7, 6, 2, (1, 1), 2, (0, 0, 0, 0)),
    (1, 10, PIXELS // 10 + 3, 1, (1, 2), 1, (0, 1, 0, 0)),
]


def run(
    x: np.ndarray,
    weight: np.ndarray,
    stride: int,
    padding: tuple[int, ...],
    shape: tuple[int, ...],
    dtype: type,
) -> np.ndarray:
    outputs, _, kh, kw = weight.shape
    sums = np.full((*shape[:2], shape[2] * shape[3]), 99, dtype)
    conv2d_accumulate(x, weight.reshape(outputs, -1), (kh, kw), stride, padding[:2], shape[3], sums)
    return sums.reshape(shape)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(("channels", "height", "width", "outputs", "kernel", "stride", "padding"), CASES)
def test_convolution(channels, height, width, outputs, kernel, stride, padding, dtype) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-256, 241, (2, channels, height, width)).astype(np.int16)
    weight = rng.integers(-7, 8, (outputs, channels, *kernel)).astype(np.int16)
    expected = naive.conv2d(x, weight, stride, padding)
    assert np.array_equal(run(x, weight, stride, padding, expected.shape, dtype), expected)


@pytest.mark.parametrize(("code", "weight_code"), [(-32768, -128), (-4096, 127), (4080, -127), (0, 127)])
def test_extremes_in_every_place(code: int, weight_code: int) -> None:
    x = np.full((1, 3, 4, 4), code, np.int16)
    weight = np.full((5, 3, 3, 3), weight_code, np.int16)
    expected = naive.conv2d(x, weight, 1, (1, 1, 1, 1))
    assert np.array_equal(run(x, weight, 1, (1, 1), expected.shape, np.int64), expected)
    assert expected[0, 0, 1, 1] == 27 * code * weight_code


def test_a_single_pixel_shows_the_kernel_itself() -> None:
    """An impulse in the middle returns the weights, mirrored: a cross-correlation, as in torch."""
    x = np.zeros((1, 1, 3, 3), np.int16)
    x[0, 0, 1, 1] = 1
    weight = np.arange(9, dtype=np.int16).reshape(1, 1, 3, 3)
    sums = run(x, weight, 1, (1, 1), (1, 1, 3, 3), np.int32)
    assert sums[0, 0].tolist() == [[8, 7, 6], [5, 4, 3], [2, 1, 0]]
