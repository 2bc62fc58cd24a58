"""The graph that every part of hqsim reads: nodes in execution order, shapes without the batch axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Attribute = int | float | bool | str | tuple[int, ...] | None


@dataclass(frozen=True)
class TensorType:
    """Shape of one sample (the batch is always the leading axis and never part of ``shape``)."""

    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements of one sample."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Node:
    """One operation.

    ``inputs`` are names of earlier nodes, ``parameters`` maps a role ("weight", "bias") to the name
    of a tensor in the model's state dict, ``attributes`` holds plain values, ``module`` is the path
    of the torch module that the operation came from.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    type: TensorType
    attributes: Mapping[str, Attribute] = field(default_factory=lambda: MappingProxyType({}))
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    module: str = ""

    def integer(self, key: str) -> int:
        """The attribute ``key``, which is an integer."""
        value = self.attributes[key]
        if not isinstance(value, int):
            raise TypeError(f"node '{self.name}': attribute '{key}' is {value!r}, not an integer")
        return value


@dataclass(frozen=True)
class Graph:
    """Nodes in execution order; the first ones are the inputs, ``output`` names the last result."""

    nodes: tuple[Node, ...]
    output: str

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for node in self.nodes:
            if node.name in seen:
                raise ValueError(f"node name '{node.name}' is used twice")
            late = [name for name in node.inputs if name not in seen]
            if late:
                raise ValueError(f"node '{node.name}' reads {late} before they are computed")
            seen.add(node.name)
        if self.output not in seen:
            raise ValueError(f"output '{self.output}' is not a node")

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, name: str) -> Node:
        return self._index[name]

    def __contains__(self, name: str) -> bool:
        return name in self._index

    @property
    def _index(self) -> dict[str, Node]:
        index: dict[str, Node] | None = self.__dict__.get("_index_cache")
        if index is None:
            index = {node.name: node for node in self.nodes}
            object.__setattr__(self, "_index_cache", index)
        return index

    def consumers(self, name: str) -> tuple[Node, ...]:
        """Nodes that read the result of ``name``, in execution order."""
        return tuple(node for node in self.nodes if name in node.inputs)

    def last_uses(self) -> dict[str, int]:
        """For each node the position of the last node that reads it (its own when nothing does)."""
        last = {node.name: position for position, node in enumerate(self.nodes)}
        for position, node in enumerate(self.nodes):
            for name in node.inputs:
                last[name] = position
        last[self.output] = len(self.nodes)
        return last
