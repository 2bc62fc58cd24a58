"""What the capture rules share: the registry, and the state of one capture with its helpers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from hqsim.errors import UnsupportedError
from hqsim.graph.graph import Attribute, Node, TensorType

BATCH = 2
"""Batch of the example inputs; the leading axis of every tensor must equal it."""

Padding = tuple[int, int, int, int]
"""Zeros at the top, left, bottom and right."""
Rule = Callable[["Capture", torch.fx.Node], "str | None"]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule under the names of its ATen operators."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


@dataclass
class Capture:
    """State of one capture: nodes so far, and which node holds the value of each torch node.

    ``padded`` holds zero paddings that wait for the convolution behind them: the padded node and how far.
    """

    module: nn.Module
    prefix: str
    train_timesteps: int
    parameter_names: dict[str, str]
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    padded: dict[str, tuple[str, Padding]] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    known: dict[object, str] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)

    def path(self, source: torch.fx.Node) -> str:
        """Module path of the torch node, without the wrapper."""
        stack = source.meta.get("nn_module_stack") or {}
        path = next(reversed(stack.values()))[0] if stack else ""
        return path.removeprefix(self.prefix).removeprefix(".")

    def unique(self, name: str) -> str:
        """``name``, numbered from its second use on."""
        count = self.used[name] = self.used.get(name, 0) + 1
        return name if count == 1 else f"{name}.{count}"

    def emit(
        self,
        source: torch.fx.Node,
        op: str,
        inputs: Sequence[str],
        *,
        shape: Sequence[int] | None = None,
        leaf: bool = False,
        suffix: str = "",
        parameters: dict[str, Any] | None = None,
        **attributes: Attribute,
    ) -> str:
        """Add a node and return its name; a ``leaf`` node of a module without children is named like it.

        What an earlier node has computed already, from the same inputs, is not computed again.
        """
        named = {
            role: self.parameter(value) for role, value in (parameters or {}).items() if value is not None
        }
        per_sample = tuple(shape) if shape is not None else self.sample_shape(source)
        computed = (op, tuple(inputs), per_sample, tuple(named.items()), tuple(attributes.items()))
        if inputs and computed in self.known:
            return self.known[computed]
        path = self.path(source)
        bare = leaf and path and not any(self.module.get_submodule(path).children())
        name = self.unique(path if bare else ".".join(filter(None, (path, suffix or op))))
        self.nodes.append(
            Node(
                name=name,
                op=op,
                inputs=tuple(inputs),
                type=TensorType(per_sample),
                attributes=MappingProxyType(dict(attributes)),
                parameters=MappingProxyType(named),
                module=path,
            )
        )
        self.shapes[name] = per_sample
        self.known[computed] = name
        return name

    def parameter(self, value: torch.fx.Node) -> str:
        """State-dict name of a parameter."""
        if value.name not in self.parameter_names:
            raise self.refuse(value, "an operand that is not a parameter of the model")
        return self.parameter_names[value.name]

    def value(self, consumer: torch.fx.Node, operand: Any) -> str:
        """Name of the node that computes ``operand`` of ``consumer``."""
        if isinstance(operand, torch.fx.Node) and operand.name in self.padded:
            raise self.refuse(consumer, "a padded operand (only convolutions have padding)")
        if not isinstance(operand, torch.fx.Node) or operand.name not in self.values:
            raise self.refuse(consumer, "a constant or a parameter as an operand")
        return self.values[operand.name]

    def is_value(self, operand: Any) -> bool:
        """Whether ``operand`` is computed by a node."""
        return isinstance(operand, torch.fx.Node) and operand.name in self.values

    def sample_shape(self, source: torch.fx.Node) -> tuple[int, ...]:
        """Shape of ``source`` without its batch axis."""
        shape = tuple(int(size) for size in source.meta["val"].shape)
        if not shape or shape[0] != BATCH:
            raise self.refuse(source, f"a result of shape {shape} whose leading axis is not the batch")
        return shape[1:]

    def refuse(self, source: torch.fx.Node, what: str) -> UnsupportedError:
        """The error for something that has no rule."""
        return UnsupportedError(
            f"module '{self.path(source) or '(top)'}': operator '{source.target}': {what} is not supported; "
            f"supported operators: {', '.join(sorted(RULES))}"
        )


def arguments(source: torch.fx.Node, defaults: Sequence[Any]) -> list[Any]:
    """Positional arguments of an ATen call, completed with defaults."""
    given = list(source.args)
    return [*given, *defaults[len(given) :]][: len(defaults)]
