"""Capture of a torch module as a Graph: ``torch.export``, then one rule per ATen operator.

Names are the module paths of the model, so that a researcher finds every layer again. What does not
compute (dropout, clone, dtype checks, division by one) leaves no node. An operator without a rule is
refused with the module and the operator named.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from hqsim.errors import UnsupportedError
from hqsim.graph.graph import Attribute, Graph, Node, TensorType

BATCH = 2
"""Batch of the example inputs; the leading axis of every tensor must equal it."""

Rule = Callable[["_Capture", torch.fx.Node], "str | None"]
RULES: dict[str, Rule] = {}
_IDENTITIES = ("clone", "dropout", "contiguous", "alias", "_to_copy", "to", "detach", "lift_fresh_copy")


@dataclass
class _Capture:
    """State of one capture: nodes so far, and which node holds the value of each torch node."""

    module: nn.Module
    prefix: str
    train_timesteps: int
    parameter_names: dict[str, str]
    nodes: list[Node] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
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
        """Add a node and return its name; a ``leaf`` node of a module without children is named like it."""
        path = self.path(source)
        bare = leaf and path and not any(self.module.get_submodule(path).children())
        name = self.unique(path if bare else ".".join(filter(None, (path, suffix or op))))
        named = {
            role: self.parameter(value) for role, value in (parameters or {}).items() if value is not None
        }
        per_sample = tuple(shape) if shape is not None else self.sample_shape(source)
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
        return name

    def parameter(self, value: torch.fx.Node) -> str:
        """State-dict name of a parameter."""
        if value.name not in self.parameter_names:
            raise self.refuse(value, "an operand that is not a parameter of the model")
        return self.parameter_names[value.name]

    def value(self, consumer: torch.fx.Node, operand: Any) -> str:
        """Name of the node that computes ``operand`` of ``consumer``."""
        if not isinstance(operand, torch.fx.Node) or operand.name not in self.values:
            raise self.refuse(consumer, "a constant or a parameter as an operand")
        return self.values[operand.name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Per-sample shape of an emitted node."""
        return next(node.type.shape for node in reversed(self.nodes) if node.name == name)

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


def capture(module: nn.Module, example: dict[str, torch.Tensor], *, train_timesteps: int = 1000) -> Graph:
    """Return the Graph of ``module`` called with the keyword arguments ``example``.

    Parameters
    ----------
    module
        A diffusers model; weights may be on the ``meta`` device.
    example
        Input tensors by argument name, each with a leading batch of 2.
    train_timesteps
        Number of timesteps that the model was trained with (rows of the sinusoid table).

    Raises
    ------
    UnsupportedError
        For an operator without a rule, naming its module and the operator.
    """
    wrapper = _Positional(module, tuple(example)).eval()
    with torch.no_grad(), warnings.catch_warnings():
        # torch.export itself deep-copies tree specifications that torch has deprecated.
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated", FutureWarning)
        program = torch.export.export(wrapper, tuple(example.values())).run_decompositions({})
    signature = program.graph_signature
    names = {
        holder: target.removeprefix("module.")
        for holder, target in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items()
    }
    state = _Capture(module, "module", train_timesteps, names)
    inputs = dict(zip(signature.user_inputs, example, strict=True))
    for source in program.graph.nodes:
        if source.op == "placeholder":
            if source.name in inputs:
                name = state.emit(source, "input", (), suffix=inputs[source.name])
                state.values[source.name] = name
        elif source.op == "call_function":
            result = _apply_rule(state, source)
            if result is not None:
                state.values[source.name] = result
        elif source.op == "output":
            (result,) = source.all_input_nodes
            output = state.value(source, result)
    return _without_unused(state.nodes, output)


class _Positional(nn.Module):
    """Calls the model with keyword arguments from positional ones and returns the bare tensor."""

    def __init__(self, module: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module = module
        self.names = names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.module(**dict(zip(self.names, tensors, strict=True)), return_dict=False)[
            0
        ]
        return output


def _apply_rule(state: _Capture, source: torch.fx.Node) -> str | None:
    target = source.target
    name = target._schema.name.removeprefix("aten::") if hasattr(target, "_schema") else str(target)
    sinusoid = _timesteps_module(state, source)
    if sinusoid is not None:
        return _timestep_embedding(state, source, *sinusoid)
    if name in _IDENTITIES:
        return state.value(source, source.args[0])
    if name.startswith("_assert") or name in ("sym_size", "ones", "full", "arange"):
        return None
    if name not in RULES:
        raise state.refuse(source, "this operator")
    return RULES[name](state, source)


def _without_unused(nodes: list[Node], output: str) -> Graph:
    needed = {output}
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.inputs)
    kept = [node for node in nodes if node.name in needed or node.op == "input"]
    return Graph(nodes=tuple(kept), output=output)


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def _timesteps_module(state: _Capture, source: torch.fx.Node) -> tuple[str, Any] | None:
    """The sinusoidal ``Timesteps`` module that a torch node lies in, if any."""
    path = state.path(source)
    module = state.module.get_submodule(path) if path else state.module
    return (path, module) if type(module).__name__ == "Timesteps" else None


def _timestep_embedding(state: _Capture, source: torch.fx.Node, path: str, module: Any) -> str:
    """The whole sinusoid is one node, whatever ATen operators it was made of."""
    known = next((node.name for node in state.nodes if node.name == path), None)
    if known:
        return known
    timestep = next(node.name for node in state.nodes if node.op == "input" and node.name == "timestep")
    return state.emit(
        source,
        "timestep_embedding",
        (timestep,),
        shape=(module.num_channels,),
        leaf=True,
        dim=module.num_channels,
        flip_sin_to_cos=bool(module.flip_sin_to_cos),
        freq_shift=float(module.downscale_freq_shift),
        scale=float(module.scale),
        max_period=10_000.0,
        rows=state.train_timesteps,
    )


@_rule("conv2d")
def _conv2d(state: _Capture, source: torch.fx.Node) -> str:
    x, weight, bias, stride, padding, dilation, groups = _arguments(
        source, (None, None, None, [1, 1], [0, 0], [1, 1], 1)
    )
    if stride[0] != stride[1] or list(dilation) != [1, 1] or groups != 1 or isinstance(padding, str):
        raise state.refuse(
            source, f"stride {stride}, padding {padding}, dilation {dilation}, groups {groups}"
        )
    kernel = tuple(int(size) for size in weight.meta["val"].shape)
    return state.emit(
        source,
        "conv2d",
        (state.value(source, x),),
        leaf=True,
        parameters={"weight": weight, "bias": bias},
        kernel=(kernel[0], kernel[2], kernel[3]),
        stride=int(stride[0]),
        padding=(padding[0], padding[1], padding[0], padding[1]),
    )


@_rule("linear")
def _linear(state: _Capture, source: torch.fx.Node) -> str:
    x, weight, bias = _arguments(source, (None, None, None))
    return state.emit(
        source,
        "linear",
        (state.value(source, x),),
        leaf=True,
        parameters={"weight": weight, "bias": bias},
        outputs=int(weight.meta["val"].shape[0]),
    )


@_rule("group_norm")
def _group_norm(state: _Capture, source: torch.fx.Node) -> str:
    x, groups, weight, bias, eps, _ = _arguments(source, (None, None, None, None, 1e-5, True))
    if weight is None or bias is None:
        raise state.refuse(source, "a norm without gain and offset")
    parameters = {"weight": weight, "bias": bias}
    return state.emit(
        source,
        "group_norm",
        (state.value(source, x),),
        leaf=True,
        parameters=parameters,
        groups=groups,
        eps=float(eps),
    )


@_rule("embedding")
def _embedding(state: _Capture, source: torch.fx.Node) -> str:
    weight, index = _arguments(source, (None, None))
    rows, dim = (int(size) for size in weight.meta["val"].shape)
    return state.emit(
        source,
        "embedding",
        (state.value(source, index),),
        leaf=True,
        parameters={"weight": weight},
        rows=rows,
        dim=dim,
    )


@_rule("silu")
def _silu(state: _Capture, source: torch.fx.Node) -> str:
    return state.emit(source, "silu", (state.value(source, source.args[0]),), leaf=True)


@_rule("add")
def _add(state: _Capture, source: torch.fx.Node) -> str:
    if source.kwargs.get("alpha", 1) != 1:
        raise state.refuse(source, f"alpha {source.kwargs['alpha']}")
    a, b = (state.value(source, operand) for operand in source.args[:2])
    if math.prod(state.shape(a)) < math.prod(state.shape(b)):
        a, b = b, a
    small, large = state.shape(b), state.shape(a)
    per_channel = len(small) == len(large) and small[0] == large[0] and set(small[1:]) <= {1}
    if small != large and not per_channel:
        raise state.refuse(source, f"an addition of shapes {large} and {small}")
    return state.emit(source, "add", (a, b))


@_rule("mul", "div")
def _multiply_by_one(state: _Capture, source: torch.fx.Node) -> str:
    a, b = _arguments(source, (None, None))
    name = state.value(source, a)
    if isinstance(b, torch.fx.Node):
        if b.name in state.values or name != "timestep":
            raise state.refuse(source, "an elementwise product")
    elif b != 1:
        raise state.refuse(source, f"a factor of {b}")
    return name


@_rule("cat")
def _cat(state: _Capture, source: torch.fx.Node) -> str:
    tensors, axis = _arguments(source, (None, 0))
    rank = len(source.meta["val"].shape)
    return state.emit(source, "concat", [state.value(source, tensor) for tensor in tensors], axis=axis % rank)


@_rule("view", "reshape", "_unsafe_view", "unsqueeze", "squeeze", "flatten", "select", "expand")
def _reshape(state: _Capture, source: torch.fx.Node) -> str:
    name = state.value(source, source.args[0])
    if name == "timestep":
        return name
    shape = state.sample_shape(source)
    if math.prod(shape) != math.prod(state.shape(name)):
        raise state.refuse(source, "a selection of elements")
    if shape == state.shape(name):
        return name
    return state.emit(source, "reshape", (name,), shape=shape)


@_rule("transpose", "permute", "t")
def _permute(state: _Capture, source: torch.fx.Node) -> str:
    rank = len(source.meta["val"].shape)
    order = list(range(rank))
    x, first, second = _arguments(source, (None, 0, 1))
    if isinstance(first, Sequence):
        order = [axis % rank for axis in first]
    else:
        order[first], order[second] = order[second], order[first]
    if order[0] != 0:
        raise state.refuse(source, "a permutation that moves the batch axis")
    return state.emit(source, "permute", (state.value(source, x),), order=tuple(order))


@_rule("scaled_dot_product_attention")
def _attention(state: _Capture, source: torch.fx.Node) -> str:
    query, key, value, mask, dropout, causal = _arguments(source, (None, None, None, None, 0.0, False))
    if mask is not None or causal or dropout:
        raise state.refuse(source, "attention with a mask, a causal order or dropout")
    q, k, v = (state.value(source, tensor) for tensor in (query, key, value))
    heads, rows, depth = state.shape(q)
    columns = state.shape(k)[1]
    scale: Any = source.kwargs.get("scale")
    logits = state.emit(
        source,
        "matmul",
        (q, k),
        shape=(heads, rows, columns),
        suffix="qk",
        factor=1.0 / math.sqrt(depth) if scale is None else float(scale),
        transpose_b=True,
        reduction=depth,
    )
    weights = state.emit(source, "softmax", (logits,), shape=(heads, rows, columns))
    return state.emit(
        source, "matmul", (weights, v), suffix="pv", factor=1.0, transpose_b=False, reduction=columns
    )


@_rule("upsample_nearest2d")
def _upsample(state: _Capture, source: torch.fx.Node) -> str:
    name = state.value(source, source.args[0])
    (_, height, width), (_, tall, wide) = state.shape(name), state.sample_shape(source)
    if tall % height or wide % width or tall // height != wide // width:
        raise state.refuse(source, f"a resize of {height} x {width} to {tall} x {wide}")
    return state.emit(source, "upsample_nearest", (name,), factor=tall // height)


def _arguments(source: torch.fx.Node, defaults: Sequence[Any]) -> list[Any]:
    """Positional arguments of an ATen call, completed with defaults."""
    given = list(source.args)
    return [*given, *defaults[len(given) :]][: len(defaults)]
