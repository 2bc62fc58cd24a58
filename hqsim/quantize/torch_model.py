"""The lowered graph in torch: the float model, or its fake-quant simulation, in float32 or float64.

Fake-quant is the ordinary simulation that training uses: operands and weights are quantized and
dequantized, everything else stays float; there are no carriers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from hqsim.graph import Graph, Node
from hqsim.graph.walk import Visit, walk
from hqsim.numerics import Format
from hqsim.ops import OPERATORS, WeightCodes
from hqsim.ops.quantize import Quantize


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
    """

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, np.ndarray],
        *,
        dtype: torch.dtype = torch.float32,
        formats: Mapping[str, Format] | None = None,
        weights: Mapping[str, WeightCodes] | None = None,
    ) -> None:
        self.graph = graph
        self.dtype = dtype
        self.formats = formats
        self.parameters = {name: torch.from_numpy(array).to(dtype) for name, array in parameters.items()}
        for name, weight in (weights or {}).items():
            shape = (-1, *[1] * (weight.codes.ndim - 1))
            real = weight.codes * weight.scales.reshape(shape)
            self.parameters[name] = torch.from_numpy(real).to(dtype)

    @torch.no_grad()
    def evaluate(self, node: Node, inputs: tuple[Tensor, ...], entry: int) -> Tensor:
        """Return the result of one node; ``entry`` indexes the timestep tables."""
        operator = OPERATORS[node.op]
        if isinstance(operator, Quantize) and self.formats is not None:
            output = self.formats[node.name]
            return operator.fake(node, inputs[0], output.scale_at(entry), output)[1]
        return operator.evaluate(node, inputs, self.parameters)

    def walk(self, inputs: Mapping[str, Tensor], entry: int) -> Iterator[Visit[Tensor]]:
        """Visit every node for one batch at one timestep."""
        return walk(self.graph, inputs, lambda node, values: self.evaluate(node, values, entry))
