"""Small layers as the product kernels take them, by the words of their docstrings; and their true sums."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from hqsim.kernels.panels import pack_panels, padded_channels
from hqsim.kernels.product import multiply_codes, multiply_sums
from hqsim.kernels.rows import Rows
from hqsim.kernels.tile import CHUNK_BYTES, EIGHT, HAS_VNNI, PORTABLE, SIXTEEN
from tests import naive

NEEDS_VNNI = pytest.mark.skipif(
    not HAS_VNNI and not numba.config.DISABLE_JIT, reason="this CPU has no AVX-512 VNNI"
)
FORMS = [
    pytest.param(EIGHT, id="eight", marks=NEEDS_VNNI),
    pytest.param(SIXTEEN, id="sixteen", marks=NEEDS_VNNI),
    pytest.param(PORTABLE, id="portable"),
]
LIMITS = (-1000, 900)
BIAS_BITS = 8


class Layer(NamedTuple):
    """A grouped convolution; ``x`` ``[b, h, w, c]``, ``weight`` ``[o, c / groups, kh, kw]``.

    ``padding`` is (top, left, bottom, right), of ``zero_point``, which counts as 0.
    """

    x: np.ndarray
    weight: np.ndarray
    stride: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    zero_point: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the result."""
        top, left, bottom, right = self.padding
        return (
            (self.x.shape[1] + top + bottom - self.weight.shape[2]) // self.stride + 1,
            (self.x.shape[2] + left + right - self.weight.shape[3]) // self.stride + 1,
        )

    @property
    def kernel_shape(self) -> tuple[int, int, int]:
        """Shape of the kernels' result: groups, rows, outputs of a group."""
        height, width = self.size
        return self.groups, len(self.x) * height * width, len(self.weight) // self.groups

    def naive_sums(self) -> np.ndarray:
        """The sums ``[groups, rows, outputs]`` in Python integers."""
        images = np.moveaxis(self.x.astype(np.int64) - self.zero_point, 3, 1)
        parts = zip(np.split(images, self.groups, axis=1), np.split(self.weight, self.groups), strict=True)
        sums = [naive.conv2d(x, weight, self.stride, self.padding) for x, weight in parts]
        return np.moveaxis(np.stack(sums), 2, -1).reshape(self.kernel_shape)

    def torch_sums(self) -> np.ndarray:
        """The same by a float64 convolution, exact below 2**53."""
        import torch

        top, left, bottom, right = self.padding
        images = np.moveaxis(self.x.astype(np.float64) - self.zero_point, 3, 1)
        padded = torch.nn.functional.pad(torch.from_numpy(images), (left, right, top, bottom))
        weight = torch.from_numpy(self.weight.astype(np.float64))
        sums = torch.nn.functional.conv2d(padded, weight, stride=self.stride, groups=self.groups).numpy()
        parts = np.stack(np.split(sums, self.groups, axis=1))
        return np.moveaxis(parts, 2, -1).reshape(self.kernel_shape).astype(np.int64)

    def arguments(self, form: int, threads: int = 1) -> tuple[Any, ...]:
        """The arguments that both product kernels share."""
        _, height, width, channels = self.x.shape
        kernel = self.weight.shape[2:]
        if form == EIGHT:
            flip = 128 if self.x.min() < 0 else 0
            codes, offset = self.x.astype(np.int8 if flip else np.uint8), flip + self.zero_point
        else:
            flip = offset = 0
            codes = (self.x - self.zero_point).astype(np.int16)
        size, own = codes.itemsize, channels // self.groups
        taps = self.weight.swapaxes(2, 3).reshape(self.groups, -1, own, kernel[0] * kernel[1])
        panels = pack_panels(np.ascontiguousarray(taps.swapaxes(2, 3)), form)
        rows = Rows(
            height=height,
            width=width,
            kernel_height=kernel[0],
            kernel_width=kernel[1],
            stride=self.stride,
            top=self.padding[0],
            left=self.padding[1],
            out_height=self.size[0],
            pitch=channels * size,
            run=own * size,
            padded_run=padded_channels(own) * size,
            group=own * size,
            skip=0,
            flip=flip,
        )
        columns = np.arange(self.size[1]) * self.stride
        data = codes.reshape(-1).view(np.uint8)
        stored = panels.form, panels.data, panels.storage, panels.sums
        return data, np.array(rows), columns, *stored, offset, threads


class Rescale(NamedTuple):
    """Factors, shifts and biases (in ``2**-8`` of a code) of the outputs of one group."""

    factor: np.ndarray
    shift: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, sums: np.ndarray) -> Rescale:
        """Factors that bring the largest sum to about 2**11, so that some codes leave ``LIMITS``."""
        rng, outputs = np.random.default_rng(5), sums.shape[-1]
        places = 15 + int(np.abs(sums).max()).bit_length() - 11
        return cls(
            rng.integers(2**14, 2**15, outputs, dtype=np.int32),
            np.maximum(places, BIAS_BITS) + rng.integers(0, 2, outputs),
            rng.integers(-(2**10), 2**10, outputs),
        )

    def arguments(self) -> tuple[Any, ...]:
        """Factor, bias and its fractional bits, shift."""
        return self.factor, self.bias, BIAS_BITS, self.shift

    def naive_codes(self, sums: np.ndarray) -> tuple[np.ndarray, int]:
        """The codes of ``[groups, rows, outputs]`` sums, and how many saturated."""
        bias = [Fraction(int(value), 2**BIAS_BITS) for value in self.bias]
        flat = sums.reshape(-1, sums.shape[2], 1)
        codes, saturated = naive.requantize(flat, self.factor.tolist(), self.shift.tolist(), bias, *LIMITS)
        return codes.reshape(sums.shape), saturated


def run_sums(
    layer: Layer,
    form: int,
    *,
    threads: int = 1,
    piece_bytes: int = CHUNK_BYTES,
    dtype: type[np.signedinteger] = np.int64,
) -> np.ndarray:
    """``multiply_sums``."""
    sums = np.full(layer.kernel_shape, 99, dtype)
    multiply_sums(*layer.arguments(form, threads), piece_bytes, sums)
    return sums


def run_codes(
    layer: Layer,
    form: int,
    rescale: Rescale,
    *,
    threads: int = 1,
    halves: np.ndarray | None = None,
    half_of: np.ndarray | None = None,
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """``multiply_codes``: codes; saturated codes, smallest and largest sum."""
    codes = np.full(layer.kernel_shape, 99, np.int16)
    halves = np.zeros((0, 0, 0), np.int32) if halves is None else halves
    half_of = np.zeros(layer.size[1], np.int64) if half_of is None else half_of
    no_sums = np.empty((layer.groups, 0, 0), np.int32)
    saturated, lowest, highest = multiply_codes(
        *layer.arguments(form, threads), halves, half_of, *rescale.arguments(), *LIMITS, codes, no_sums
    )
    return codes, (int(saturated), int(lowest), int(highest))


def check(layer: Layer, form: int, expected: np.ndarray, *, threads: int = 1) -> None:
    """Assert that both kernels give the ``expected`` sums, their codes and their statistics."""
    assert np.array_equal(run_sums(layer, form, threads=threads), expected)
    rescale = Rescale.of(expected)
    codes, observed = run_codes(layer, form, rescale, threads=threads)
    expected_codes, saturated = rescale.naive_codes(expected)
    assert np.array_equal(codes, expected_codes)
    assert observed == (saturated, expected.min(), expected.max())
