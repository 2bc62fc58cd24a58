"""Average pooling of codes: an exact sum of each window, one rounding shift."""

from __future__ import annotations

import numpy as np
from numba import prange

from hqsim.kernels.jit import kernel
from hqsim.kernels.scalar import round_shift


@kernel
def average_pool(x, factor, shift, codes):
    """Write ``round_shift(sum of factor x factor pixels, shift)``.

    ``x`` is ``[batch, height, width, channels]``, ``codes`` is ``[batch, ho, wo, channels]``; threads take
    rows of pixels.
    """
    batch, height, width, channels = codes.shape
    for row in prange(batch * height):
        index, top = row // height, row % height
        sums = np.empty(channels, np.int64)
        for left in range(width):
            sums[:] = 0
            for i in range(factor):
                for j in range(factor):
                    pixel = x[index, top * factor + i, left * factor + j]
                    for c in range(channels):
                        sums[c] += pixel[c]
            for c in range(channels):
                codes[index, top, left, c] = round_shift(sums[c], shift)
