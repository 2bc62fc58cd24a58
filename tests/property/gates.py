"""The gates of the activations in more digits than a float has: what tables are judged by."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal


def sigmoid(x: float) -> Decimal:
    """With 28 digits."""
    return 1 / (1 + Decimal(-x).exp())


def normal(x: float) -> Decimal:
    """The distribution of normal numbers, as a float has it."""
    return Decimal(math.erfc(-x / math.sqrt(2)) / 2)


def tanh_gate(x: float) -> Decimal:
    """``(1 + tanh(u)) / 2 = sigmoid(2 u)``."""
    return sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


GATES: dict[str, Callable[[float], Decimal]] = {"silu": sigmoid, "gelu": normal, "gelu_tanh": tanh_gate}
