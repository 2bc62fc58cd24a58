"""How long a layer takes once it is known how many bytes every memory moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hqsim.cost.machine import Hardware


@dataclass(frozen=True, eq=False)
class Pace:
    """The slowest engine of a layer beside the memories of its machine, from the array outward.

    Engines and double-buffered memories work side by side; every other memory adds its transfer. Fill and
    launch, which no tile changes, are not part of it. ``engine_cycles`` may be an array of many layers.
    """

    hardware: Hardware
    engine_cycles: Any

    def transfer_cycles(self, level_bytes: np.ndarray) -> np.ndarray:
        """Return the whole cycles of every memory for its bytes, both float64 ``[levels, ...]``."""
        speed = self.hardware.bytes_per_cycle.reshape(-1, *[1] * (level_bytes.ndim - 1))
        cycles: np.ndarray = np.ceil(level_bytes / speed)
        return cycles

    def cycles(self, transfers: Any, maximum: Callable[[Any, Any], Any] = np.maximum) -> Any:
        """Return the cycles of the layer, ``[tiles]``; of a single transfer per memory with ``max``."""
        cycles: Any = self.engine_cycles
        for level in self.hardware.hidden:
            cycles = maximum(cycles, transfers[level])
        for level in self.hardware.exposed:
            cycles = cycles + transfers[level]
        return cycles
