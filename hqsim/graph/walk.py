"""One walk for every executor: evaluate nodes in order, hand out each result, forget what nobody needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, TypeVar

from hqsim.graph.graph import Graph, Node

T = TypeVar("T")


class Visit(NamedTuple, Generic[T]):
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
    values: dict[str, T] = dict(given)
    for node, unused in zip(graph.nodes, graph.last_uses, strict=True):
        if node.op == "input":
            continue
        inputs = tuple([values[name] for name in node.inputs])
        value = values[node.name] = evaluate(node, inputs)
        yield Visit(node, inputs, value)
        for name in unused:
            values.pop(name, None)


def result_of(visits: Iterable[Visit[T]]) -> T:
    """Walk to the end and return the last value: the graph's result."""
    for visit in visits:
        last = visit
    return last.value
