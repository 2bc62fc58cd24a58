"""Scales of least squared error, for weights and for activations.

Every candidate clips the range at a fraction of the largest magnitude; the best one wins. Weights: as a
dyadic number, per output channel and segment, searched in float32 on blocks that stay in the cache.
Activations: searched on a histogram of the (transformed) values, then once more around the best, because a
far outlier makes the candidates coarse beside the values that matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from hqsim.numerics import Format, round_half_up, snap
from hqsim.ops import WeightCodes

CANDIDATES = np.linspace(0.0125, 1.0, 80)
NEIGHBOURS = np.linspace(-0.9, 0.9, 19) * CANDIDATES[0]
WEIGHT_CANDIDATES = CANDIDATES[CANDIDATES >= 0.2]
SMALLEST_CHANNEL = 2.0**-10
"""Scale of an almost dead weight channel, beside the largest one (keeps its rescale in range)."""
BLOCK = 1 << 16
"""Weights that one step of the search looks at: with their temporaries they stay in the cache of a core."""
SEARCHED_BITS = 8
"""Wider operands take their whole range: a histogram is coarser than their codes, and clipping never pays."""


def quantize_weight(weight: np.ndarray, bits: int, segments: Sequence[int] | None = None) -> WeightCodes:
    """Quantize ``weight [outputs, channels, ...]``: symmetric, restricted range.

    Parameters
    ----------
    weight
        Real weights.
    bits
        Width of the codes.
    segments
        Lengths of the parts of axis 1 with scales of their own; all of it when None.

    Raises
    ------
    ValueError
        When the weight is not finite.
    """
    if not np.all(np.isfinite(weight)):
        raise ValueError("the weight holds values that are not finite")
    ends = np.cumsum(segments if segments is not None else [weight.shape[1]])
    parts = np.split(weight, ends[:-1], axis=1)
    reach = np.stack([np.abs(part).reshape(len(part), -1).max(axis=1) for part in parts], axis=1)
    reach = np.maximum(reach.astype(np.float64), (float(reach.max()) or 1.0) * SMALLEST_CHANNEL)
    high = (1 << (bits - 1)) - 1
    codes, scales = np.empty(weight.shape, np.int8), np.empty(reach.shape)
    for index, (part, end) in enumerate(zip(parts, ends, strict=True)):
        rows = part.reshape(len(part), -1)
        found, scales[:, index] = _quantize_rows(rows, reach[:, index], high)
        codes[:, end - part.shape[1] : end] = found.reshape(part.shape)
    return WeightCodes.of(codes, scales, bits)


def _quantize_rows(rows: np.ndarray, reach: np.ndarray, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 codes and the scales of ``rows [outputs, length]``; ``reach`` is their largest magnitude.

    Every row is searched by one thread in one order, so the result does not depend on the threads.
    """
    candidates = snap(reach * WEIGHT_CANDIDATES[:, None] / high)
    codes, scales = np.empty(rows.shape, np.int8), np.empty(len(rows))
    height = max(1, BLOCK // rows.shape[1])

    def search(first: int) -> None:
        block = slice(first, first + height)
        x = torch.from_numpy(np.ascontiguousarray(rows[block], np.float32))
        steps = torch.from_numpy(candidates[:, block].astype(np.float32))[:, :, None]
        scaled, error = torch.empty_like(x), torch.empty(len(steps), len(x))
        for index, step in enumerate(steps):
            torch.div(x, step, out=scaled).round_().clamp_(-high, high).mul_(step).sub_(x).square_()
            torch.sum(scaled, 1, out=error[index])
        best = error.argmin(0).numpy()
        scales[block] = np.take_along_axis(candidates[:, block], best[None], 0)[0]
        real = rows[block] / scales[block, None]
        codes[block] = np.clip(np.floor(real + 0.5), -high, high)

    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(search, range(0, len(rows), height)))
    finally:
        torch.set_num_threads(threads)
    return codes, scales


def operand_scale(counts: np.ndarray, reach: float, operand: Format) -> float:
    """Return the symmetric scale of least squared error for a histogram of activations.

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
    if operand.bits > SEARCHED_BITS:
        return reach / operand.high
    values, weights = _filled(counts, -reach, reach)

    def best(fractions: np.ndarray) -> float:
        scales = fractions * reach / (operand.high + 0.5)
        error = _squared_error(values, weights, scales, np.zeros(len(scales)), operand)
        return float(fractions[np.argmin(error)])

    return best(best(CANDIDATES) + NEIGHBOURS) * reach / (operand.high + 0.5)


def operand_grid(counts: np.ndarray, low: float, high: float, operand: Format) -> tuple[float, int]:
    """Return the scale and the zero-point of least squared error for a histogram of activations.

    Both ends of the range are clipped together first, then each by itself.

    Parameters
    ----------
    counts
        Numbers of values in equal bins over [low, high].
    low, high
        Smallest and largest value, at most and at least 0.
    operand
        Width of the unsigned codes.
    """
    if low == high:
        return 1.0, 0
    ends = np.array([low, high])
    levels = operand.high - operand.low

    def grid(fractions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scales and zero-points that put the clipped ends on the first and the last code."""
        lows, highs = (fractions * ends).T
        scales = (highs - lows) / levels
        return scales, np.clip(round_half_up(-lows / scales), operand.low, operand.high)

    if operand.bits > SEARCHED_BITS:
        scales, zero_points = grid(np.ones((1, 2)))
        return float(scales[0]), int(zero_points[0])
    values, weights = _filled(counts, low, high)

    def best(fractions: np.ndarray) -> np.ndarray:
        found: np.ndarray = fractions[np.argmin(_squared_error(values, weights, *grid(fractions), operand))]
        return found

    clip = best(np.stack([CANDIDATES, CANDIDATES], axis=1))
    for _ in range(2):
        for end in (0, 1):
            trials = np.tile(clip, (len(CANDIDATES), 1))
            trials[:, end] = CANDIDATES
            clip = best(np.concatenate([clip[None], trials]))
    scales, zero_points = grid(clip[None])
    return float(scales[0]), int(zero_points[0])


def _filled(counts: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Centres and counts of the bins that hold something."""
    centres = (np.arange(len(counts)) + 0.5) * ((high - low) / len(counts)) + low
    filled = counts > 0
    return centres[filled], counts[filled]


def _squared_error(
    values: np.ndarray, weights: np.ndarray, scales: np.ndarray, zero_points: np.ndarray, operand: Format
) -> np.ndarray:
    """Squared error of the ``values`` under every scale and zero-point, weighted."""
    codes = np.floor(values / scales[:, None] + 0.5) + zero_points[:, None]
    codes = np.clip(codes, operand.low, operand.high) - zero_points[:, None]
    error: np.ndarray = (np.square(codes * scales[:, None] - values) * weights).sum(axis=1)
    return error
