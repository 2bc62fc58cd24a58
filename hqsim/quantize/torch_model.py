"""The lowered graph in torch: the float model, or its fake-quant simulation, in float32 or float64.

Fake-quant is the ordinary simulation that training uses: operands and weights are quantized and
dequantized, everything else stays float; there are no carriers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Self

import numpy as np
import torch
from torch import Tensor

from hqsim.graph import Graph, Node
from hqsim.graph.walk import Visit, walk
from hqsim.numerics import Format
from hqsim.ops import OPERATORS, Multiply, WeightCodes
from hqsim.ops.quantize import Quantize


class _Parameters(Mapping[str, Tensor]):
    """Tensors by name, made when they are used: no large model is held a second time, unless ``keep``."""

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, np.ndarray],
        weights: Mapping[str, WeightCodes],
        dtype: torch.dtype,
        keep: bool,
    ) -> None:
        self._kept: dict[tuple[str, int], Tensor] | None = {} if keep else None
        self._real = parameters
        self._codes = weights
        self._dtype = dtype
        self._entry = 0
        self._layers = {
            node.parameters["weight"]: (node, operator)
            for node in graph
            if isinstance(operator := OPERATORS[node.op], Multiply) and "weight" in node.parameters
        }

    def at(self, entry: int) -> Self:
        """Return the same parameters at one entry of the timestep tables."""
        found = copy(self)
        found._entry = entry
        return found

    def __getitem__(self, name: str) -> Tensor:
        """The real parameter, or what the codes of a quantized weight stand for."""
        if self._kept is None:
            return self._make(name)
        stepped = name in self._codes and self._codes[name].scales.ndim == 3
        key = name, self._entry if stepped else 0
        if key not in self._kept:
            self._kept[key] = self._make(name)
        return self._kept[key]

    def _make(self, name: str) -> Tensor:
        if name not in self._codes:
            return torch.from_numpy(self._real[name]).to(self._dtype)
        node, operator = self._layers[name]
        return torch.from_numpy(operator.real_weight(node, self._codes[name], self._entry)).to(self._dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._real)

    def __len__(self) -> int:
        return len(self._real)


class TorchModel:
    """Evaluates a lowered graph with torch, node by node.

    Parameters
    ----------
    graph, parameters
        The lowered graph and the float parameters by name.
    dtype
        ``torch.float32`` or ``torch.float64``.
    formats, weights
        Give both for fake-quant; leave both out for the float model.
    keep
        Hold every tensor that was made: faster where layers are evaluated again and again.
    """

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, np.ndarray],
        *,
        dtype: torch.dtype = torch.float32,
        formats: Mapping[str, Format] | None = None,
        weights: Mapping[str, WeightCodes] | None = None,
        keep: bool = False,
    ) -> None:
        self.graph = graph
        self.dtype = dtype
        self.formats = formats
        self.parameters = _Parameters(graph, parameters, weights or {}, dtype, keep)

    @torch.no_grad()
    def evaluate(self, node: Node, inputs: tuple[Tensor, ...], entry: int) -> Tensor:
        """Return the result of one node; ``entry`` indexes the timestep tables."""
        operator = OPERATORS[node.op]
        if isinstance(operator, Quantize) and self.formats is not None:
            return operator.fake(node, inputs[0], self.formats[node.name], entry)[1]
        return operator.evaluate(node, inputs, self.parameters.at(entry))

    def walk(self, inputs: Mapping[str, Tensor], entry: int) -> Iterator[Visit[Tensor]]:
        """Visit every node for one batch at one timestep."""
        return walk(self.graph, inputs, lambda node, values: self.evaluate(node, values, entry))
