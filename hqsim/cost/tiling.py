"""How often a matrix product's operands cross into a memory that cannot hold them."""

from __future__ import annotations

from dataclasses import dataclass

from hqsim.cost.machine import MemoryLevel
from hqsim.errors import UnsupportedError


@dataclass(frozen=True, kw_only=True)
class TileProblem:
    """One product ``[m, k] x [k, n]`` in front of a memory.

    ``a_bytes`` and ``w_bytes`` cross into the memory once per reload; ``a_held_bytes`` is the first
    operand as the memory holds it (wider than it was stored after an inverse transform), and
    ``a_row_bytes`` one row of ``k`` of it (a convolution's window). Partial sums take ``sum_bytes`` each.
    """

    m: int
    n: int
    a_bytes: float
    w_bytes: float
    a_held_bytes: float
    a_row_bytes: float
    w_col_bytes: float
    a_element_bytes: float
    w_element_bytes: float
    sum_bytes: float


@dataclass(frozen=True, kw_only=True)
class Reloads:
    """How often each operand crosses."""

    a_times: int
    w_times: int


def tile_capacity_bytes(level: MemoryLevel) -> float:
    """Return what one tile may take: half of a double-buffered memory."""
    size = level.size_bytes or 0
    return size / 2 if level.double_buffered else float(size)


def reloads(problem: TileProblem, *, capacity_bytes: float, layer: str, level: str) -> Reloads:
    """Return the fewest bytes' reloads among three ways to use the memory.

    - hold a stripe of weights (all of ``k``) and stream the rows of the first operand past it:
      the first operand crosses ``ceil(n / n_t)`` times, the weights once;
    - hold a stripe of the first operand and stream the weights: the weights cross ``ceil(m / m_t)`` times;
    - hold a block ``m_t`` x ``n_t`` of partial sums and stream ``k``: both cross again per block
      (``m_t`` a power of two).

    Each holds what fits of its own operand beside one vector of the other. The outputs cross once.

    Raises
    ------
    UnsupportedError
        When not even a block of one partial sum fits.
    """
    p = problem
    choices = []
    n_tile = min(p.n, int((capacity_bytes - p.a_row_bytes) // (p.w_col_bytes + p.sum_bytes)))
    if n_tile >= 1:
        choices.append(Reloads(a_times=-(-p.n // n_tile), w_times=1))
    room = capacity_bytes - p.w_col_bytes - p.a_row_bytes
    m_tile = min(p.m, int(room // (p.a_held_bytes / p.m + p.sum_bytes)))
    if m_tile >= 1:
        choices.append(Reloads(a_times=1, w_times=-(-p.m // m_tile)))
    for power in range((p.m - 1).bit_length() + 1):
        m_tile = min(p.m, 1 << power)
        room = capacity_bytes - m_tile * p.a_element_bytes
        n_tile = min(p.n, int(room // (m_tile * p.sum_bytes + p.w_element_bytes)))
        if n_tile < 1:
            break
        choices.append(Reloads(a_times=-(-p.n // n_tile), w_times=-(-p.m // m_tile)))
    if not choices:
        raise UnsupportedError(
            f"layer '{layer}' does not fit memory '{level}': a tile may take {capacity_bytes:g} bytes, but "
            "one partial sum with its operands takes "
            f"{p.sum_bytes + p.a_element_bytes + p.w_element_bytes:g}; make the memory larger."
        )
    return min(choices, key=lambda r: p.a_bytes * r.a_times + p.w_bytes * r.w_times)
