"""Capture rules of what moves codes: views, slices, joins, changes of resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from hqsim.graph.rules import Capture, arguments, rule


@rule("view", "reshape", "_unsafe_view", "unsqueeze", "squeeze", "flatten", "expand")
def _reshape(state: Capture, source: torch.fx.Node) -> str:
    name = state.value(source, source.args[0])
    if name == "timestep":
        return name
    shape = state.sample_shape(source)
    if math.prod(shape) != math.prod(state.shapes[name]):
        raise state.refuse(source, f"an expansion of {state.shapes[name]} to {shape}")
    if shape == state.shapes[name]:
        return name
    return state.emit(source, "reshape", (name,), shape=shape)


@rule("transpose", "permute", "t")
def _permute(state: Capture, source: torch.fx.Node) -> str:
    rank = len(source.meta["val"].shape)
    order = list(range(rank))
    x, first, second = arguments(source, (None, 0, 1))
    if isinstance(first, Sequence):
        order = [axis % rank for axis in first]
    else:
        order[first], order[second] = order[second], order[first]
    return _reordered(state, source, x, order)


@rule("einsum")
def _einsum(state: Capture, source: torch.fx.Node) -> str:
    """A permutation that is written as an einsum (``nhwpqc->nchpwq`` puts patches together)."""
    equation, operands = arguments(source, (None, None))
    given, _, result = equation.partition("->")
    if len(operands) != 1 or sorted(given) != sorted(result) or len(set(given)) != len(given):
        raise state.refuse(source, f"'{equation}'")
    return _reordered(state, source, operands[0], [given.index(letter) for letter in result])


def _reordered(state: Capture, source: torch.fx.Node, x: torch.fx.Node, order: list[int]) -> str:
    if order[0] != 0:
        raise state.refuse(source, "a permutation that moves the batch axis")
    return state.emit(source, "permute", (state.value(source, x),), order=tuple(order))


@rule("split", "split_with_sizes", "chunk")
def _split(state: Capture, source: torch.fx.Node) -> None:
    """Nothing yet: each part that is used becomes a slice."""


@rule("getitem")
def _getitem(state: Capture, source: torch.fx.Node) -> str:
    parts, index = source.args
    assert isinstance(parts, torch.fx.Node)
    assert isinstance(index, int)
    x, _, axis = arguments(parts, (None, None, 0))
    lengths = [int(part.shape[axis]) for part in parts.meta["val"]]
    start = sum(lengths[:index])
    return _slice(state, source, x, axis, start, start + lengths[index])


@rule("slice")
def _slice_rule(state: Capture, source: torch.fx.Node) -> str:
    x, axis, start, stop, step = arguments(source, (None, 0, None, None, 1))
    if step != 1:
        raise state.refuse(source, f"a step of {step}")
    length = int(x.meta["val"].shape[axis])
    first, last, _ = slice(start, stop).indices(length)
    return _slice(state, source, x, axis, first, last)


@rule("select")
def _select(state: Capture, source: torch.fx.Node) -> str:
    x, axis, index = arguments(source, (None, 0, 0))
    position = index % int(x.meta["val"].shape[axis])
    part = _slice(state, source, x, axis, position, position + 1)
    return state.emit(source, "reshape", (part,))


def _slice(state: Capture, source: torch.fx.Node, x: torch.fx.Node, axis: int, start: int, stop: int) -> str:
    name = state.value(source, x)
    shape = list(x.meta["val"].shape)
    axis %= len(shape)
    if stop - start == shape[axis]:
        return name
    if axis == 0:
        raise state.refuse(source, "a part of the batch")
    shape[axis] = stop - start
    return state.emit(
        source, "slice", (name,), shape=shape[1:], suffix="slice", axis=axis, start=start, stop=stop
    )


@rule("cat")
def _cat(state: Capture, source: torch.fx.Node) -> str:
    tensors, axis = arguments(source, (None, 0))
    rank = len(source.meta["val"].shape)
    return state.emit(source, "concat", [state.value(source, tensor) for tensor in tensors], axis=axis % rank)


@rule("upsample_nearest2d")
def _upsample(state: Capture, source: torch.fx.Node) -> str:
    name = state.value(source, source.args[0])
    (_, height, width), (_, tall, wide) = state.shapes[name], state.sample_shape(source)
    if tall % height or wide % width or tall // height != wide // width:
        raise state.refuse(source, f"a resize of {height} x {width} to {tall} x {wide}")
    return state.emit(source, "upsample_nearest", (name,), factor=tall // height)


@rule("avg_pool2d")
def _average_pool(state: Capture, source: torch.fx.Node) -> str:
    x, kernel, stride, padding, ceil_mode = arguments(source, (None, None, [], [0, 0], False))
    windows = {*kernel, *stride}
    factor = int(kernel[0])
    if len(windows) != 1 or any(padding) or ceil_mode or factor & (factor - 1):
        raise state.refuse(source, f"windows of {kernel} with stride {stride or kernel}, padding {padding}")
    return state.emit(source, "average_pool", (state.value(source, x),), factor=factor)
