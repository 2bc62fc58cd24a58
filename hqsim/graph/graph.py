"""The graph that every part of hqsim reads: nodes in execution order, shapes without the batch axis."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

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

    def to_json(self) -> dict[str, Any]:
        """Return the node as plain JSON values; tuples become lists."""
        return {
            "name": self.name,
            "op": self.op,
            "inputs": list(self.inputs),
            "shape": list(self.type.shape),
            "attributes": {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in self.attributes.items()
            },
            "parameters": dict(self.parameters),
            "module": self.module,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Undo :meth:`to_json`; a record of another form is a KeyError or a TypeError."""
        attributes = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in record["attributes"].items()
        }
        return cls(
            name=record["name"],
            op=record["op"],
            inputs=tuple(record["inputs"]),
            type=TensorType(tuple(record["shape"])),
            attributes=MappingProxyType(attributes),
            parameters=MappingProxyType(record["parameters"]),
            module=record["module"],
        )


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

    @cached_property
    def _index(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def to_json(self) -> dict[str, Any]:
        """Return the graph as plain JSON values."""
        return {"output": self.output, "nodes": [node.to_json() for node in self.nodes]}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Undo :meth:`to_json`; nodes that make no graph are a ValueError."""
        return cls(nodes=tuple(Node.from_json(node) for node in record["nodes"]), output=record["output"])

    def part(self, names: Collection[str]) -> Graph:
        """Return the nodes ``names`` as a graph of its own; what they read from outside becomes an input."""
        inside = [node for node in self.nodes if node.name in names]
        read = {name for node in inside for name in node.inputs}
        nodes = [
            node if node.name in names else Node(node.name, "input", (), node.type)
            for node in self.nodes
            if node.name in names or node.name in read
        ]
        return Graph(nodes=tuple(nodes), output=inside[-1].name)

    def consumers(self, name: str) -> tuple[Node, ...]:
        """Nodes that read the result of ``name``, in execution order."""
        return tuple(node for node in self.nodes if name in node.inputs)

    @cached_property
    def last_uses(self) -> tuple[tuple[str, ...], ...]:
        """For each node the results that nobody needs after it: read for the last time, or never."""
        last = {node.name: position for position, node in enumerate(self.nodes)}
        for position, node in enumerate(self.nodes):
            for name in node.inputs:
                last[name] = position
        del last[self.output]
        found: list[list[str]] = [[] for _ in self.nodes]
        for name, position in last.items():
            found[position].append(name)
        return tuple(tuple(names) for names in found)
