"""One walk for every executor: evaluate nodes in order, hand out each result, forget what nobody needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from hqsim.graph.graph import Graph, Node

T = TypeVar("T")


@dataclass(frozen=True)
class Visit(Generic[T]):
    """One evaluated node: its inputs and its result, as the executor holds them."""

    node: Node
    inputs: tuple[T, ...]
    value: T


def walk(
    graph: Graph, given: Mapping[str, T], evaluate: Callable[[Node, tuple[T, ...]], T]
) -> Iterator[Visit[T]]:
    """Yield a :class:`Visit` for every node that is not an input, in execution order.

    A result is dropped after its last use, so that a walk holds no more than the live tensors.
    """
    last = graph.last_uses()
    values: dict[str, T] = dict(given)
    for position, node in enumerate(graph):
        if node.op == "input":
            continue
        inputs = tuple(values[name] for name in node.inputs)
        value = evaluate(node, inputs)
        values[node.name] = value
        yield Visit(node, inputs, value)
        for name in (*node.inputs, node.name):
            if last[name] <= position:
                values.pop(name, None)
