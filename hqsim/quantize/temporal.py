"""The temporal information block: what a model computes from the timestep alone, found in its graph.

Sinusoid, time MLP and every block's projection of the time embedding see no image (Huang et al., TFMQ-DM,
section 4.1). Where a class embedding is added to the time embedding, what follows depends on the label too:
it belongs to the block of *reconstruction*, whose inputs are then all pairs of a timestep and a label, but
not to the block that a table per timestep can replace.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType

from hqsim.errors import UnsupportedError
from hqsim.graph import Graph, Node
from hqsim.ops import OPERATORS

TIMESTEP, LABELS = "timestep", "class_labels"


@dataclass(frozen=True)
class TemporalBlock:
    """The block's ``nodes`` in execution order, and those of them that the rest of the model reads.

    The ``embeddings`` are named by the node that computes them: reshapes behind it are looked through.
    """

    nodes: tuple[str, ...]
    embeddings: tuple[str, ...]


def temporal_block(graph: Graph, *, labels: bool = False) -> TemporalBlock:
    """Return the temporal information block of a graph, lowered or not.

    Parameters
    ----------
    graph
        The graph of a model.
    labels
        Whether nodes that read the class label beside the timestep belong to it too; the class embedding that
        they read then does. Else every node depends on the timestep alone.
    """
    sources = _sources(graph)
    allowed = {TIMESTEP, LABELS} if labels else {TIMESTEP}
    inside = {name for name, inputs in sources.items() if TIMESTEP in inputs and inputs <= allowed}
    inside.discard(TIMESTEP)
    # The operand of a product that reads the image belongs to that product.
    inside -= {
        node.name
        for node in graph
        if node.op == "quantize" and any(user.name not in inside for user in graph.consumers(node.name))
    }
    read = [name for node in graph if node.name not in inside for name in node.inputs if name in inside]
    embeddings = dict.fromkeys(_computed(graph, inside, name) for name in read)
    needed = ancestors(graph, embeddings)
    nodes = tuple(node.name for node in graph if node.name in needed and node.op != "input")
    return TemporalBlock(nodes, tuple(embeddings))


def tabulate(graph: Graph) -> Graph:
    """Return the graph with a table per timestep in the place of every temporal embedding.

    Raises
    ------
    UnsupportedError
        When no node depends on the timestep alone.
    """
    block = temporal_block(graph)
    if not block.nodes:
        raise UnsupportedError(
            "precompute_temporal: no node of the model depends on the timestep alone; use false"
        )
    nodes = [_table(node) if node.name in block.embeddings else node for node in graph]
    by_name = Graph(tuple(nodes), graph.output)
    needed = ancestors(by_name, [graph.output])
    return replace(by_name, nodes=tuple(node for node in nodes if node.name in needed or node.op == "input"))


def ancestors(graph: Graph, names: Iterable[str]) -> set[str]:
    """Return ``names`` and all nodes that they depend on."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(graph[name].inputs)
    return found


def _sources(graph: Graph) -> dict[str, frozenset[str]]:
    """For every node the inputs of the model that it depends on."""
    sources: dict[str, frozenset[str]] = {}
    for node in graph:
        own = {node.name} if node.op == "input" else set()
        sources[node.name] = frozenset(own.union(*(sources[name] for name in node.inputs)))
    return sources


def _computed(graph: Graph, inside: set[str], name: str) -> str:
    """The node behind ``name`` that computes its elements: views of all of them are looked through."""
    node = graph[name]
    while OPERATORS[node.op].is_view and node.inputs[0] in inside:
        source = graph[node.inputs[0]]
        if source.type.elements != node.type.elements:
            break
        node = source
    return node.name


def _table(node: Node) -> Node:
    return replace(
        node,
        op="temporal_table",
        inputs=(TIMESTEP,),
        attributes=MappingProxyType({}),
        parameters=MappingProxyType(
            {"table": f"{node.name}.table", "timesteps": f"{node.name}.table.timesteps"}
        ),
    )
