"""One graph, many readers: types, capture from torch, live ranges."""

from hqsim.graph.graph import Graph, Node, TensorType
from hqsim.graph.record import HadamardWork, LayerRecord, MatrixWork, TensorUse

__all__ = ["Graph", "HadamardWork", "LayerRecord", "MatrixWork", "Node", "TensorType", "TensorUse"]
