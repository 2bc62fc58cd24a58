"""Diffusers architectures without their weights: what a capture gives, and its form as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from hqsim.graph import Graph

FOLDERS = {
    "UNet2DModel": "unet",
    "UNet2DConditionModel": "unet",
    "DiTTransformer2DModel": "transformer",
}
"""The supported classes, and the subfolder in which diffusers keeps their weights."""
CONTEXT = "context.weight"
"""Name of the table ``[rows, tokens, dim]`` that stands for the text encoder or class embedder."""


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """Everything that decides an architecture.

    ``class_name`` and ``config`` are a class of ``FOLDERS`` and its ``config.json``; ``context`` is the shape
    ``[rows, tokens, dim]`` of the context table of a ``UNet2DConditionModel``; ``train_timesteps`` counts the
    rows of the sinusoid table.
    """

    class_name: str
    config: Mapping[str, Any]
    context: tuple[int, int, int] | None
    train_timesteps: int

    def to_json(self) -> dict[str, Any]:
        """Return the blueprint as plain JSON values."""
        return {
            "class_name": self.class_name,
            "config": {
                key: list(value) if isinstance(value, tuple) else value for key, value in self.config.items()
            },
            "context": list(self.context) if self.context else None,
            "train_timesteps": self.train_timesteps,
        }


@dataclass(frozen=True)
class Parameter:
    """A tensor of a weights file: its role (``product``, ``bias``, ``norm``, ``embedding``, ``buffer``)."""

    role: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A captured model without weights.

    ``parameters`` are the tensors of its weights file by name; ``constants`` names the buffers that its graph
    reads beside them; ``rows`` is the number of labels, the one for "no class" included (0 without).
    """

    graph: Graph
    parameters: Mapping[str, Parameter]
    constants: tuple[str, ...]
    sample_shape: tuple[int, int, int]
    rows: int

    @property
    def parameter_count(self) -> int:
        """Number of weights, as the framework counts them: without buffers, without the context's table."""
        return sum(one.elements for one in self.parameters.values() if one.role != "buffer")

    def to_json(self) -> dict[str, Any]:
        """Return the architecture as plain JSON values."""
        return {
            "sample_shape": list(self.sample_shape),
            "rows": self.rows,
            "parameters": {name: [one.role, *one.shape] for name, one in self.parameters.items()},
            "constants": list(self.constants),
            "graph": self.graph.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Undo :meth:`to_json`; a record of another form is a KeyError, a TypeError or a ValueError."""
        channels, height, width = record["sample_shape"]
        return cls(
            graph=Graph.from_json(record["graph"]),
            parameters={
                name: Parameter(role, tuple(shape)) for name, (role, *shape) in record["parameters"].items()
            },
            constants=tuple(record["constants"]),
            sample_shape=(channels, height, width),
            rows=record["rows"],
        )
