"""Average pooling of codes: an exact sum of each window, one rounding shift."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.scalar import round_shift
from hqsim.kernels.threads import part_of, share, team_size


@helper
def _average_pool(worker, threads, x, factor, shift, codes):
    batch, height, width, channels = codes.shape
    begin, end = part_of(worker, threads, batch * height)
    sums = np.empty(channels, np.int64)
    for row in range(begin, end):
        index, top = row // height, row % height
        for left in range(width):
            sums[:] = 0
            for i in range(factor):
                for j in range(factor):
                    pixel = x[index, top * factor + i, left * factor + j]
                    for c in range(channels):
                        sums[c] += pixel[c]
            for c in range(channels):
                codes[index, top, left, c] = round_shift(sums[c], shift)


@kernel
def average_pool(x, factor, shift, codes):
    """Write ``round_shift(sum of factor x factor pixels, shift)``.

    ``x`` is ``[batch, height, width, channels]``, ``codes`` is ``[batch, ho, wo, channels]``; threads take
    rows of pixels.
    """
    share(_average_pool, team_size(), (x, factor, shift, codes))
