"""Activations of 16-bit codes by a 513-entry table with linear interpolation."""

from __future__ import annotations

import numpy as np

from hqsim.kernels.jit import helper, kernel
from hqsim.kernels.scalar import clamp, round_shift
from hqsim.kernels.threads import part_of, share, team_size


@helper
def _gate(
    worker,
    threads,
    x,
    table,
    table_bits,
    address_multiplier,
    address_shift,
    multiplier,
    shift,
    low,
    high,
    codes,
):
    one, saturated = np.int64(1) << (table_bits + 7), np.int64(0)
    begin, end = part_of(worker, threads, x.shape[0])
    for i in range(begin, end):
        code = np.int64(x[i])
        address = min(round_shift(abs(code) * address_multiplier, address_shift), np.int64(65535))
        low_entry, part = address >> 7, address & 127
        weight = table[low_entry] * 128 + (table[low_entry + 1] - table[low_entry]) * part
        if code >= 0:
            weight = one - weight
        value = round_shift(code * weight * multiplier, shift)
        result = clamp(value, low, high)
        saturated += value != result
        codes[i] = result
    return saturated


@kernel
def gate(x, table, table_bits, address_multiplier, address_shift, multiplier, shift, low, high, codes):
    """Write ``x * g(x)``, rescaled; return the number of saturated codes.

    ``table [513]`` holds ``1 - g(a)`` at ``a = i / 32`` in ``table_bits`` fractional bits, for a gate with
    ``g(-a) = 1 - g(a)``. The address is ``|x|`` in unsigned Q4.12; seven bits interpolate. One product
    and one rounding: ``clamp(round_shift(x * w * multiplier, shift))``.
    """
    arguments = (x, table, table_bits, address_multiplier, address_shift, multiplier, shift, low, high, codes)
    return share(_gate, team_size(), arguments)
