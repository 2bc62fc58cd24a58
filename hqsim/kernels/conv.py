"""Integer convolution as an implicit GEMM: patches are gathered for one tile of pixels at a time."""

from __future__ import annotations

import numpy as np
from numba import prange

from hqsim.kernels.gemm import multiply_panel
from hqsim.kernels.jit import helper, kernel

PIXELS = 128


@helper
def _gather(image, kernel_size, stride, padding, first, width_out, patch):
    """Fill ``patch [c * kh * kw, pixels]`` with the inputs of output pixels ``first ...``; pad with 0."""
    channels, height, width = image.shape
    kh, kw = kernel_size
    pixels = patch.shape[1]
    for pixel in range(pixels):
        y = (first + pixel) // width_out * stride - padding[0]
        x = (first + pixel) % width_out * stride - padding[1]
        inside = y >= 0 and x >= 0 and y + kh <= height and x + kw <= width
        row = 0
        for channel in range(channels):
            for i in range(kh):
                for j in range(kw):
                    if inside or (0 <= y + i < height and 0 <= x + j < width):
                        patch[row, pixel] = image[channel, y + i, x + j]
                    else:
                        patch[row, pixel] = 0
                    row += 1


@kernel
def conv2d_accumulate(x, weight, kernel_size, stride, padding, width_out, sums):
    """Write the convolution of ``x [batch, c, h, w]`` into ``sums [batch, o, ho * width_out]``.

    ``x`` and ``weight [o, c * kh * kw]`` are int16, ``sums`` is int32 or int64; ``padding`` is
    (top, left), zeros; what the bottom and right need follows from the size of ``sums``. Threads take
    disjoint tiles of pixels. (The caller flattens the pixels: a reshape in here compares sizes as float64.)
    """
    batch, outputs, pixels = sums.shape
    tiles = (pixels + PIXELS - 1) // PIXELS
    for tile in prange(batch * tiles):
        index = tile // tiles
        first = tile % tiles * PIXELS
        last = min(first + PIXELS, pixels)
        patch = np.empty((weight.shape[1], last - first), np.int16)
        _gather(x[index], kernel_size, stride, padding, first, width_out, patch)
        part = np.zeros((outputs, last - first), sums.dtype)
        multiply_panel(weight, patch, part)
        sums[index, :, first:last] = part
