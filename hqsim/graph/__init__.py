"""One graph, many readers: types, capture from torch, live ranges."""

from hqsim.graph.graph import Graph, Node, TensorType
from hqsim.graph.record import (
    ConvWork,
    HadamardWork,
    LayerRecord,
    MatrixWork,
    ParityTerm,
    TensorUse,
    Variant,
)

__all__ = [
    "ConvWork",
    "Graph",
    "HadamardWork",
    "LayerRecord",
    "MatrixWork",
    "Node",
    "ParityTerm",
    "TensorType",
    "TensorUse",
    "Variant",
]
