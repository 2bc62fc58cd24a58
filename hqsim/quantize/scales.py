"""Scales of least squared error, for weights and for activations.

Every candidate clips the range at a fraction of the largest magnitude; the best of 80 wins. Weights: as a
dyadic number. Activations: searched on a histogram of the (transformed) values, then once more around the
best, because a far outlier makes the candidates coarse beside the values that matter.
"""

from __future__ import annotations

import numpy as np

from hqsim.numerics import Format, round_half_up, snap
from hqsim.ops import WeightCodes

CANDIDATES = np.linspace(0.0125, 1.0, 80)
NEIGHBOURS = np.linspace(-0.9, 0.9, 19) * CANDIDATES[0]
SMALLEST_CHANNEL = 2.0**-10
"""Scale of an almost dead weight channel, beside the largest one (keeps its rescale in range)."""


def quantize_weight(weight: np.ndarray, bits: int) -> WeightCodes:
    """Quantize ``weight [outputs, ...]`` per output channel: symmetric, restricted range.

    Raises
    ------
    ValueError
        When the weight is not finite.
    """
    if not np.all(np.isfinite(weight)):
        raise ValueError("the weight holds values that are not finite")
    rows = weight.reshape(weight.shape[0], -1).astype(np.float64)
    high = (1 << (bits - 1)) - 1
    reach = np.abs(rows).max(axis=1)
    reach = np.maximum(reach, (reach.max() or 1.0) * SMALLEST_CHANNEL)
    best_scale, best_error = snap(reach / high), np.full(len(rows), np.inf)
    for fraction in CANDIDATES[CANDIDATES >= 0.2]:
        scale = snap(reach * fraction / high)
        codes = np.clip(np.floor(rows / scale[:, None] + 0.5), -high, high)
        error = np.square(rows - codes * scale[:, None]).sum(axis=1)
        better = error < best_error
        best_scale, best_error = np.where(better, scale, best_scale), np.where(better, error, best_error)
    codes = np.clip(round_half_up(rows / best_scale[:, None]), -high, high)
    return WeightCodes(codes.astype(np.int8).reshape(weight.shape), best_scale, bits)


def operand_scale(counts: np.ndarray, reach: float, operand: Format) -> float:
    """Return the scale of least squared error for a histogram of activations.

    Parameters
    ----------
    counts
        Numbers of values in equal bins over [-reach, reach].
    reach
        Largest magnitude.
    operand
        Width and signedness of the codes.
    """
    if reach == 0.0:
        return 1.0
    width = 2.0 * reach / len(counts)
    centres = (np.arange(len(counts)) + 0.5) * width - reach
    filled = counts > 0
    centres, counts = centres[filled], counts[filled]

    def best(fractions: np.ndarray) -> float:
        scales = fractions * reach / (operand.high + 0.5)
        codes = np.clip(np.floor(centres / scales[:, None] + 0.5), operand.low, operand.high)
        error = (np.square(codes * scales[:, None] - centres) * counts).sum(axis=1)
        return float(fractions[np.argmin(error)])

    return best(best(CANDIDATES) + NEIGHBOURS) * reach / (operand.high + 0.5)
