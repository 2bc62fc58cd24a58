"""±1 butterflies: the forward transform fused with the operand quantizer, and the integer inverse.

Arrays are viewed as ``[outer, length, inner]``, contiguous; the transform runs along ``length`` in blocks of
``2**order``, at most 64: for many neighbouring lanes of ``inner`` at a time (``transform_lanes``), or, when
``inner`` is 1, along rows that hold their blocks one after another (``transform_rows``). Butterflies are
exact and grow codes by ``order`` bits.
"""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import thread_count
from hqsim.kernels.transform_channels import pick_codes
from hqsim.kernels.transform_lanes import invert_lanes, quantize_lanes
from hqsim.kernels.transform_rows import invert_rows, quantize_rows

THREAD_SHARE = 8192
"""Elements that are worth a thread: a few microseconds, as long as it takes to wake one."""
_NARROW, _WIDE = np.empty(0, np.int16), np.empty(0, np.int32)


def quantize_transformed(x, signs, factor, low, high, codes):
    """Transform carrier codes and quantize; return the number of saturated codes.

    ``clamp(floor(FWHT(signs * x) * multiplier / 2**shift + 1/2) + zero, low, high)``. ``x`` and ``codes`` are
    ``[outer, length, inner]``; ``signs`` ``[2**order]``, of any integer type; ``factor`` int64 holds
    ``multiplier`` in [1, 2**15), ``shift`` in [0, 62], ``zero`` in [``low``, ``high``]. Codes of up to 26
    bits, results of up to 16.
    """
    run = quantize_rows if x.shape[2] == 1 else quantize_lanes
    return run(x, signs, factor, low, high, _threads(x.size), codes)


def quantize_by_channel(x, signs, factor, exponents, low, high, codes):
    """``quantize_transformed`` along channels, each with a step of its own; ``x [rows, channels]``.

    ``clamp(floor(FWHT(signs * x) * multiplier / 2**(shift + e) + 1/2), low, high) * 2**e``, with the exponent
    ``e`` of every channel in ``exponents`` int64. ``factor`` has no zero. All channels are quantized with
    each step, which takes less than a step that changes within a vector.
    """
    trials = np.empty((int(exponents.max()) + 1, *x.shape), np.int16)
    row = (1, -1, 1)
    for exponent, trial in enumerate(trials):
        step = factor + np.array([0, exponent, 0])
        quantize_transformed(x.reshape(row), signs, step, low - 1, high + 1, trial.reshape(row))
    return pick_codes(trials, exponents, low, high, _threads(x.size), codes)


def invert_transform(codes, signs, zero, halve, operand, parity, *, narrow=None):
    """Write the integer inverse ``signs * ((codes - zero) Ĥ)`` (un-normalised) into ``operand``.

    With ``halve`` the operand is ``floor(value / 2)``, one bit narrower. The lost bit, which all values of a
    block share, goes to ``parity`` uint8 ``[outer, length / n, inner]``; when ``inner`` is 1, it goes twice
    to the end of each row of the operand, which is ``2 * length / n`` longer. ``codes`` may be ``operand``
    itself. ``narrow`` tells that every value on the way fits 16 bits; by itself it holds for codes of 8 bits.
    """
    narrow = codes.dtype.itemsize == 1 if narrow is None else narrow
    scratch = _NARROW if narrow else _WIDE
    if codes.shape[2] == 1:
        invert_rows(codes, signs, zero, halve, scratch, _threads(codes.size), operand)
    else:
        invert_lanes(codes, signs, zero, halve, scratch, _threads(codes.size), operand, parity)


def _threads(size):
    return min(thread_count(), 1 + size // THREAD_SHARE)
