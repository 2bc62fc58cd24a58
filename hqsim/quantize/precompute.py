"""``precompute_temporal``: the temporal information block of a quantized model becomes tables.

The rows are the block's own integer results at every calibrated timestep, so the model's codes stay the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hqsim.graph import Node
from hqsim.graph.walk import walk
from hqsim.ops import OPERATORS, Preparation
from hqsim.quantize.quantized_model import QuantizedModel
from hqsim.quantize.temporal import TIMESTEP, tabulate, temporal_block


def precompute_temporal(qmodel: QuantizedModel) -> QuantizedModel:
    """Return ``qmodel`` with its temporal information block replaced by tables (timesteps as calibrated).

    Raises
    ------
    UnsupportedError
        When no node of the model depends on the timestep alone.
    """
    graph = tabulate(qmodel.graph)
    formats = {node.name: qmodel.formats[node.name] for node in graph}
    parameters: dict[str, np.ndarray] = {}
    for name, codes in _rows(qmodel).items():
        roles = graph[name].parameters
        parameters[roles["table"]] = formats[name].decode(codes)
        parameters[roles["timesteps"]] = np.array(qmodel.timesteps)
    preparation = Preparation(formats, parameters, {})
    arrays = {
        node.name: OPERATORS[node.op].prepare(node, preparation)
        if node.op == "temporal_table"
        else qmodel.arrays[node.name]
        for node in graph
        if node.op == "temporal_table" or node.name in qmodel.arrays
    }
    read = {name for node in graph for name in node.parameters.values()}
    return replace(
        qmodel,
        recipe=qmodel.recipe.model_copy(update={"precompute_temporal": True}),
        graph=graph,
        formats=formats,
        weights={name: weight for name, weight in qmodel.weights.items() if name in read},
        arrays=arrays,
    )


def _rows(qmodel: QuantizedModel) -> dict[str, np.ndarray]:
    """For every embedding its codes ``[timesteps, ...]``, by the integer forms of the operators."""
    block = temporal_block(qmodel.graph)
    graph = qmodel.graph.part(block.nodes)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in block.embeddings}
    for entry, timestep in enumerate(qmodel.timesteps):

        def evaluate(node: Node, inputs: tuple[np.ndarray, ...], entry: int = entry) -> np.ndarray:
            operator = OPERATORS[node.op]
            arrays = operator.at_entry(qmodel.node_arrays(node), entry)
            return operator.integer(node, arrays, inputs, qmodel.formats[node.name])[0]

        for visit in walk(graph, {TIMESTEP: np.array([timestep])}, evaluate):
            if visit.node.name in rows:
                rows[visit.node.name].append(visit.value[0])
    return {name: np.stack(codes) for name, codes in rows.items()}
