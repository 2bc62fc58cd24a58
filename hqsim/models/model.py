"""A float model as hqsim holds it: graph, parameters, schedule, and how it is sampled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hqsim.graph import Graph
from hqsim.models.schedule import Schedule


@dataclass(frozen=True)
class Model:
    """A captured diffusion model.

    ``parameters`` are float32 arrays by state-dict name; ``digest`` is the sha256 of the weights file;
    ``null_label`` is the label that stands for "no class" (None without classes); ``guidance`` is the
    default classifier-free guidance weight.
    """

    name: str
    source: str
    graph: Graph
    parameters: Mapping[str, np.ndarray]
    schedule: Schedule
    digest: str
    sample_shape: tuple[int, int, int]
    classes: int
    null_label: int | None
    guidance: float

    @property
    def parameter_count(self) -> int:
        """Number of float parameters."""
        return sum(array.size for array in self.parameters.values())
