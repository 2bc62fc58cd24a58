"""Capture rules of matrix products: convolution, linear layer, attention."""

from __future__ import annotations

import math
from typing import Any

import torch

from hqsim.graph.rules import Capture, Padding, arguments, rule


@rule("pad", "constant_pad_nd")
def _pad(state: Capture, source: torch.fx.Node) -> None:
    """Zeros in front of a convolution become its padding."""
    x, sizes, mode, value = arguments(source, (None, None, "constant", None))
    if not isinstance(mode, str):
        mode, value = "constant", mode
    if mode != "constant" or value or len(sizes) != 4 or min(sizes) < 0:
        raise state.refuse(source, f"padding {list(sizes)} in mode '{mode}' with {value or 0}")
    left, right, top, bottom = sizes
    state.padded[source.name] = (state.value(source, x), (top, left, bottom, right))


@rule("conv2d")
def _conv2d(state: Capture, source: torch.fx.Node) -> str:
    x, weight, bias, stride, padding, dilation, groups = arguments(
        source, (None, None, None, [1, 1], [0, 0], [1, 1], 1)
    )
    if stride[0] != stride[-1] or set(dilation) != {1} or isinstance(padding, str):
        raise state.refuse(
            source, f"stride {stride}, padding {padding}, dilation {dilation}, groups {groups}"
        )
    name, around = _padded(state, source, x)
    kernel = tuple(int(size) for size in weight.meta["val"].shape)
    own = (padding[0], padding[-1], padding[0], padding[-1])
    return state.emit(
        source,
        "conv2d",
        (name,),
        leaf=True,
        parameters={"weight": weight, "bias": bias},
        kernel=(kernel[0], kernel[2], kernel[3]),
        stride=int(stride[0]),
        padding=tuple(int(a) + int(b) for a, b in zip(own, around, strict=True)),
        groups=int(groups),
    )


def _padded(state: Capture, source: torch.fx.Node, x: torch.fx.Node) -> tuple[str, Padding]:
    """The input of a convolution and the padding that stood in front of it."""
    return state.padded.get(x.name) or (state.value(source, x), (0, 0, 0, 0))


@rule("linear")
def _linear(state: Capture, source: torch.fx.Node) -> str:
    x, weight, bias = arguments(source, (None, None, None))
    return state.emit(
        source,
        "linear",
        (state.value(source, x),),
        leaf=True,
        parameters={"weight": weight, "bias": bias},
        outputs=int(weight.meta["val"].shape[0]),
    )


@rule("scaled_dot_product_attention")
def _attention(state: Capture, source: torch.fx.Node) -> str:
    query, key, value, mask, dropout, causal = arguments(source, (None, None, None, None, 0.0, False))
    if mask is not None or causal or dropout:
        raise state.refuse(source, "attention with a mask, a causal order or dropout")
    q, k, v = (state.value(source, tensor) for tensor in (query, key, value))
    heads, rows, depth = state.shapes[q]
    columns = state.shapes[k][1]
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
