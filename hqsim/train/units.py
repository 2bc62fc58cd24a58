"""What is reconstructed as one: the temporal information block, and residual and transformer blocks by name.

Every node of the lowered graph belongs to one unit. A unit is a module of a list that diffusers builds its
models from (``down_blocks.1.resnets.0``), or a single node outside of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from graphlib import TopologicalSorter

from hqsim.graph import Graph
from hqsim.ops import OPERATORS, Multiply
from hqsim.quantize.temporal import temporal_block

TEMPORAL = "temporal information block"
_BLOCK = re.compile(r".*?\b(?:resnets|attentions|transformer_blocks|downsamplers|upsamplers)\.\d+(?=\.|$)")


@dataclass(frozen=True)
class Unit:
    """Nodes ``part`` of a lowered graph that are reconstructed together; others read the ``outputs``."""

    name: str
    part: Graph
    outputs: tuple[str, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the nodes outside that the unit reads."""
        return tuple(node.name for node in self.part if node.op == "input")

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the weights of the unit's products."""
        return tuple(
            node.parameters["weight"]
            for node in self.part
            if isinstance(OPERATORS[node.op], Multiply) and "weight" in node.parameters
        )


def reconstruction_units(lowered: Graph) -> list[Unit]:
    """Return the units in an order in which each reads what earlier ones computed; inputs are in none.

    The temporal information block takes the class label where the model adds its embedding.
    """
    temporal = temporal_block(lowered, labels=True)
    unit_of = {
        node.name: TEMPORAL if node.name in temporal.nodes else _name(node.module, node.name)
        for node in lowered
        if node.op != "input"
    }
    reads: dict[str, dict[str, None]] = {}
    members: dict[str, list[str]] = {}
    for node in lowered:
        if node.op == "input":
            continue
        unit = unit_of[node.name]
        members.setdefault(unit, []).append(node.name)
        sources = (unit_of[name] for name in node.inputs if name in unit_of)
        reads.setdefault(unit, {}).update(dict.fromkeys(source for source in sources if source != unit))
    order = TopologicalSorter(reads).static_order()
    return [Unit(name, lowered.part(members[name]), _outputs(lowered, members[name])) for name in order]


def _name(module: str, node: str) -> str:
    match = _BLOCK.match(module)
    return match.group() if match else node


def _outputs(lowered: Graph, names: list[str]) -> tuple[str, ...]:
    inside = set(names)
    read = {name for node in lowered if node.name not in inside for name in node.inputs}
    return tuple(name for name in names if name in read or name == lowered.output)
