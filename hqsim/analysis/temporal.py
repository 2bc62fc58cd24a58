"""Temporal features: how far quantized time embeddings are from the float model's, timestep by timestep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from hqsim.graph import Graph, Node
    from hqsim.quantize import QuantizedModel

Embeddings = Callable[[Mapping[str, np.ndarray], int], dict[str, np.ndarray]]
"""From the model's inputs and the entry of its timestep to real values by embedding."""


def temporal_errors(qmodels: Mapping[str, QuantizedModel]) -> pd.DataFrame:
    """Return one row per model and calibrated timestep: the error of its temporal embeddings.

    An embedding is what a block reads of the time embedding, class embedding included; the integer executor
    gives it for every label of the model.

    Parameters
    ----------
    qmodels
        Quantized models by the name that they have in column ``model``.

    Returns
    -------
    DataFrame
        ``model``, ``timestep``, ``squared_error`` (summed over embeddings and features, mean over labels),
        ``sqnr_db`` of all embeddings together, and ``worst_embedding`` with its ``worst_sqnr_db``.
    """
    import pandas as pd

    rows = []
    for name, qmodel in qmodels.items():
        exact, integer = _float_embeddings(qmodel), _integer_embeddings(qmodel)
        for entry, timestep in enumerate(qmodel.timesteps):
            inputs = _inputs(qmodel, timestep)
            found = _errors(exact(inputs, entry), integer(inputs, entry))
            rows.append({"model": name, "timestep": timestep, **found})
    return pd.DataFrame(rows)


def _inputs(qmodel: QuantizedModel, timestep: int) -> dict[str, np.ndarray]:
    """One row per label, the one for "no class" last; a single row without classes."""
    null = qmodel.model.null_label
    labels = np.array([*range(qmodel.model.classes), *([] if null is None else [null])])
    rows = max(len(labels), 1)
    return {"timestep": np.full(rows, timestep, np.int64), "class_labels": labels}


def _float_embeddings(qmodel: QuantizedModel) -> Embeddings:
    """Embeddings of the float model, by torch."""
    import torch

    from hqsim.quantize.torch_model import TorchModel

    model = TorchModel(qmodel.float_graph, qmodel.source.parameters)

    def embeddings(inputs: Mapping[str, np.ndarray], entry: int) -> dict[str, np.ndarray]:
        given = {name: torch.from_numpy(value) for name, value in inputs.items()}
        found = _walk(model.graph, given, lambda node, values: model.evaluate(node, values, entry))
        return {name: value.double().numpy() for name, value in found.items()}

    return embeddings


def _integer_embeddings(qmodel: QuantizedModel) -> Embeddings:
    """What the integer executor's codes stand for."""
    from hqsim.simulate.executors import CodeExecutor

    executor = CodeExecutor(qmodel, form="integer")

    def embeddings(inputs: Mapping[str, np.ndarray], entry: int) -> dict[str, np.ndarray]:
        found = _walk(qmodel.graph, inputs, lambda node, codes: executor.evaluate(node, codes, entry))
        return {name: qmodel.formats[name].decode(codes) for name, codes in found.items()}

    return embeddings


def _walk(graph: Graph, given: Mapping[str, Any], evaluate: Callable[[Node, Any], Any]) -> dict[str, Any]:
    """The results of the temporal information block that the rest of the model reads."""
    from hqsim.graph.walk import walk
    from hqsim.quantize.temporal import temporal_block

    block = temporal_block(graph, labels=True)
    visits = walk(graph.part(block.nodes), given, evaluate)
    return {visit.node.name: visit.value for visit in visits if visit.node.name in block.embeddings}


def _errors(exact: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    signal = {name: float(np.square(values).sum()) for name, values in exact.items()}
    error = {name: float(np.square(values - found[name]).sum()) for name, values in exact.items()}
    sqnr = {name: _db(signal[name], error[name]) for name in exact}
    worst = min(sqnr, key=lambda name: sqnr[name])
    labels = len(next(iter(exact.values())))
    return {
        "squared_error": sum(error.values()) / labels,
        "sqnr_db": _db(sum(signal.values()), sum(error.values())),
        "worst_embedding": worst,
        "worst_sqnr_db": sqnr[worst],
    }


def _db(signal: float, error: float) -> float:
    return 10 * math.log10(signal / error) if error else math.inf
