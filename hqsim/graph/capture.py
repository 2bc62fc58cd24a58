"""Capture of a torch module as a Graph: ``torch.export``, then one rule per ATen operator.

Names are the module paths of the model, so that a researcher finds every layer again. What does not
compute (dropout, clone, dtype checks, division by one) leaves no node, and what was computed before is not
computed again. An operator without a rule is refused with the module and the operator named. The rules stand
in ``rules_matrix``, ``rules_elementwise`` and ``rules_layout``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from hqsim.graph import rules_elementwise, rules_layout, rules_matrix
from hqsim.graph.graph import Graph, Node
from hqsim.graph.rules import BATCH, RULES, Capture

# The modules of rules register themselves when they are imported.
__all__ = ["BATCH", "capture", "rules_elementwise", "rules_layout", "rules_matrix"]

CONTEXT = "encoder_hidden_states"
_INPUT_NAMES = {"hidden_states": "sample"}
_IDENTITIES = ("clone", "dropout", "contiguous", "alias", "_to_copy", "to", "detach", "lift_fresh_copy")
_CONSTANTS = ("sym_size", "ones", "full", "arange")


def capture(
    module: nn.Module,
    example: Mapping[str, torch.Tensor],
    *,
    train_timesteps: int = 1000,
    context_rows: int = 0,
    channels: int | None = None,
) -> Graph:
    """Return the Graph of ``module`` called with the keyword arguments ``example``.

    Parameters
    ----------
    module
        A diffusers model; weights may be on the ``meta`` device.
    example
        Input tensors by argument name, each with a leading batch of 2. ``hidden_states`` is the sample;
        ``encoder_hidden_states`` ``[2, tokens, dim]``, the last one if any, is no input of the graph but the
        node ``context``: a row of the table ``context.weight`` ``[rows, tokens, dim]`` per label.
    train_timesteps
        Number of timesteps that the model was trained with (rows of the sinusoid table).
    context_rows
        Rows of the context's table.
    channels
        The output is cut to so many channels (a model that also predicts its variance).

    Raises
    ------
    UnsupportedError
        For an operator without a rule, naming its module and the operator.
    """
    wrapper = _Positional(module, tuple(example)).eval()
    with torch.no_grad(), warnings.catch_warnings(), _without_stack_traces():
        # torch.export itself deep-copies tree specifications that torch has deprecated.
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated", FutureWarning)
        program = torch.export.export(wrapper, tuple(example.values()))
    signature = program.graph_signature
    names = {
        holder: target.removeprefix("module.")
        for holder, target in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items()
    }
    state = Capture(module, "module", train_timesteps, names)
    inputs = dict(zip(signature.user_inputs, example, strict=True))
    for source in program.graph.nodes:
        if source.op == "placeholder":
            if source.name in inputs:
                state.values[source.name] = _input(state, source, inputs[source.name], context_rows)
        elif source.op == "call_function":
            result = _apply_rule(state, source)
            if result is not None:
                state.values[source.name] = result
        elif source.op == "output":
            (last,) = source.all_input_nodes
            output = _first_channels(state, last, channels)
    return _without_unused(state.nodes, output)


@contextmanager
def _without_stack_traces() -> Iterator[None]:
    """Let torch note no Python stack for each node: nothing reads them, and they are a fifth of an export."""
    before = torch.fx.config.do_not_emit_stack_traces
    torch.fx.config.do_not_emit_stack_traces = True
    try:
        yield
    finally:
        torch.fx.config.do_not_emit_stack_traces = before


class _Positional(nn.Module):
    """Calls the model with keyword arguments from positional ones and returns the bare tensor."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.names = names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        given = dict(zip(self.names, tensors, strict=True))
        output: torch.Tensor = self.module(**given, return_dict=False)[0]
        return output


def _input(state: Capture, source: torch.fx.Node, argument: str, context_rows: int) -> str:
    if argument != CONTEXT:
        return state.emit(source, "input", (), suffix=_INPUT_NAMES.get(argument, argument))
    labels = "class_labels"
    if labels not in state.shapes:
        state.emit(source, "input", (), shape=(), suffix=labels)
    tokens, dim = state.sample_shape(source)
    state.parameter_names[source.name] = "context.weight"
    return state.emit(
        source,
        "embedding",
        (labels,),
        suffix="context",
        parameters={"weight": source},
        rows=context_rows,
        tokens=tokens,
        dim=dim,
    )


def _apply_rule(state: Capture, source: torch.fx.Node) -> str | None:
    target: Any = source.target
    name = target._schema.name.removeprefix("aten::") if hasattr(target, "_schema") else target.__name__
    sinusoid = _timesteps_module(state, source)
    if sinusoid is not None:
        return _timestep_embedding(state, source, sinusoid)
    if name in _IDENTITIES:
        return state.value(source, source.args[0])
    if name.startswith("_assert") or name in _CONSTANTS:
        return None
    if name not in RULES:
        raise state.refuse(source, "this operator")
    return RULES[name](state, source)


def _timesteps_module(state: Capture, source: torch.fx.Node) -> Any:
    """The sinusoidal ``Timesteps`` module that a torch node lies in, None outside of one."""
    path = state.path(source)
    module = state.module.get_submodule(path) if path else state.module
    return module if type(module).__name__ == "Timesteps" else None


def _timestep_embedding(state: Capture, source: torch.fx.Node, module: Any) -> str:
    """The whole sinusoid is one node, whatever ATen operators it was made of."""
    read = {state.values[node.name] for node in source.all_input_nodes if node.name in state.values}
    others = [name for name in read if name in state.shapes and name != "timestep" and not state.shapes[name]]
    if others:
        raise state.refuse(source, f"a sinusoid of '{others[0]}'")
    return state.emit(
        source,
        "timestep_embedding",
        ("timestep",),
        shape=(module.num_channels,),
        leaf=True,
        dim=module.num_channels,
        flip_sin_to_cos=bool(module.flip_sin_to_cos),
        freq_shift=float(module.downscale_freq_shift),
        scale=float(module.scale),
        max_period=10_000.0,
        rows=state.train_timesteps,
    )


def _first_channels(state: Capture, last: torch.fx.Node, channels: int | None) -> str:
    name = state.value(last, last)
    shape = state.shapes[name]
    if channels is None or channels == shape[0]:
        return name
    kept = (channels, *shape[1:])
    return state.emit(last, "slice", (name,), shape=kept, suffix="noise", axis=1, start=0, stop=channels)


def _without_unused(nodes: list[Node], output: str) -> Graph:
    needed = {output}
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.inputs)
    kept = [node for node in nodes if node.name in needed or node.op == "input"]
    return Graph(nodes=tuple(kept), output=output)
