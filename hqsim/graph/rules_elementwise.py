"""Capture rules of norms, activations, look-ups, sums and products."""

from __future__ import annotations

import math
from typing import Any

import torch

from hqsim.graph.broadcast import repeated_axes
from hqsim.graph.rules import Capture, arguments, rule


@rule("group_norm")
def _group_norm(state: Capture, source: torch.fx.Node) -> str:
    x, groups, weight, bias, eps, _ = arguments(source, (None, None, None, None, 1e-5, True))
    if weight is None or bias is None:
        raise state.refuse(source, "a norm without gain and offset")
    return state.emit(
        source,
        "group_norm",
        (state.value(source, x),),
        leaf=True,
        parameters={"weight": weight, "bias": bias},
        groups=groups,
        eps=float(eps),
    )


@rule("layer_norm")
def _layer_norm(state: Capture, source: torch.fx.Node) -> str:
    x, shape, weight, bias, eps, _ = arguments(source, (None, None, None, None, 1e-5, True))
    if len(shape) != 1:
        raise state.refuse(source, f"a norm over the last {len(shape)} axes")
    return state.emit(
        source,
        "layer_norm",
        (state.value(source, x),),
        leaf=True,
        parameters={"weight": weight, "bias": bias},
        eps=float(eps),
    )


@rule("silu")
def _silu(state: Capture, source: torch.fx.Node) -> str:
    return state.emit(source, "silu", (state.value(source, source.args[0]),), leaf=True)


@rule("gelu")
def _gelu(state: Capture, source: torch.fx.Node) -> str:
    op = "gelu_tanh" if source.kwargs.get("approximate") == "tanh" else "gelu"
    return state.emit(source, op, (state.value(source, source.args[0]),), leaf=True)


@rule("embedding")
def _embedding(state: Capture, source: torch.fx.Node) -> str:
    weight, index = arguments(source, (None, None))
    rows, dim = (int(size) for size in weight.meta["val"].shape)
    return state.emit(
        source,
        "embedding",
        (state.value(source, index),),
        leaf=True,
        parameters={"weight": weight},
        rows=rows,
        tokens=0,
        dim=dim,
    )


@rule("add", "sub")
def _add(state: Capture, source: torch.fx.Node) -> str:
    """A sum of two values, or of a value and a constant: a number, or a table of the model."""
    if source.kwargs.get("alpha", 1) != 1:
        raise state.refuse(source, f"alpha {source.kwargs['alpha']}")
    a, b = arguments(source, (None, None))
    negative = "sub" in str(source.target)
    if isinstance(b, int | float):
        return state.emit(
            source, "offset", (state.value(source, a),), value=-float(b) if negative else float(b)
        )
    if negative:
        raise state.refuse(source, "a difference")
    if isinstance(a, int | float) or _is_table(state, a):
        a, b = b, a
    if isinstance(b, int | float):
        return state.emit(source, "offset", (state.value(source, a),), value=float(b))
    if _is_table(state, b):
        return _add_table(state, source, a, b)
    return state.emit(source, "add", _operands(state, source, a, b))


def _is_table(state: Capture, operand: Any) -> bool:
    is_parameter = isinstance(operand, torch.fx.Node) and operand.name in state.parameter_names
    return is_parameter and not state.is_value(operand)


def _add_table(state: Capture, source: torch.fx.Node, a: Any, table: torch.fx.Node) -> str:
    name = state.value(source, a)
    shape = tuple(int(size) for size in table.meta["val"].shape)
    if shape not in (state.shapes[name], (1, *state.shapes[name])):
        raise state.refuse(source, f"an addition of a parameter of shape {shape} to {state.shapes[name]}")
    return state.emit(source, "offset", (name,), parameters={"table": table})


def _operands(state: Capture, source: torch.fx.Node, a: Any, b: Any) -> tuple[str, str]:
    """Both operands of a sum or product, the larger one first."""
    first, second = state.value(source, a), state.value(source, b)
    if math.prod(state.shapes[first]) < math.prod(state.shapes[second]):
        first, second = second, first
    large, small = state.shapes[first], state.shapes[second]
    if repeated_axes(large, small) is None:
        what = "an elementwise product" if "mul" in str(source.target) else "an addition"
        raise state.refuse(source, f"{what} of shapes {large} and {small}")
    return first, second


@rule("mul", "div")
def _multiply(state: Capture, source: torch.fx.Node) -> str:
    """A product of two values, or of a value and a positive number, which only changes the scale."""
    a, b = arguments(source, (None, None))
    divides = "div" in str(source.target)
    if isinstance(a, int | float) and not divides:
        a, b = b, a
    if isinstance(b, int | float):
        name = state.value(source, a)
        if b == 1:
            return name
        if b <= 0:
            raise state.refuse(source, f"a factor of {b}")
        return state.emit(source, "scale", (name,), factor=1.0 / b if divides else float(b))
    if state.is_value(a) and not state.is_value(b) and state.values[a.name] == "timestep":
        return "timestep"  # diffusers multiplies it by ones to give it the length of the batch
    if divides:
        raise state.refuse(source, "a division of two values")
    return state.emit(source, "product", _operands(state, source, a, b))
