"""Run TOSA graphs in the reference model, request by request until standard input ends.

It runs in the environment of ``environment.py``, where tosa-tools lives and hqsim does not. A request is the
name of an npz file with ``graphs``, a list in JSON, and ``position/name`` for every tensor (``reference.py``
writes it). The file is replaced by the results, named by the positions of their graphs, and its name is the
answer.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tosa_reference_model
import tosa_serializer as ts

STORAGE = {"INT8": np.int8, "INT16": np.int16, "INT32": np.int32}
ENUMERATIONS = (ts.DType, ts.RoundingMode, ts.ResizeMode)


def enumerated(value: Any) -> Any:
    """Return the member that a string names, and any other value as it is."""
    if not isinstance(value, str):
        return value
    return next(kind.__members__[value] for kind in ENUMERATIONS if value in kind.__members__)


def run(graph: dict[str, Any], arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Serialize one graph and evaluate it; its last operator gives the result."""
    serializer, inputs = ts.TosaSerializer(), []
    for tensor in graph["tensors"]:
        name, kind, values = tensor["name"], enumerated(tensor["type"]), arrays[tensor["name"]]
        if tensor["constant"]:
            serializer.addConst(values.shape, kind, values.ravel().tolist(), name)
        else:
            serializer.addInputTensor(ts.TosaSerializerTensor(name, values.shape, kind))
            inputs.append(np.ascontiguousarray(values, STORAGE[tensor["type"]]))
    names: list[str] = []
    for operator in graph["operators"]:
        last = operator is graph["operators"][-1]
        add = serializer.addOutput if last else serializer.addIntermediate
        names.append(add(operator["shape"], enumerated(operator["type"])).name)
        operands = [names[operand] if isinstance(operand, int) else operand for operand in operator["inputs"]]
        attribute = ts.TosaSerializerAttribute()
        kind, *values = operator["attribute"]
        getattr(attribute, kind)(*map(enumerated, values))
        serializer.addOperator(ts.Op.__members__[operator["op"]], operands, names[-1:], attribute)
    (result,), status = tosa_reference_model.run(serializer.serialize(), inputs)
    if status != tosa_reference_model.GraphStatus.TOSA_VALID:
        raise SystemExit(f"{graph['operators']}: the reference model says {status.name}")
    return result


def answer(path: str) -> None:
    results = {}
    with np.load(path) as archive:
        for position, graph in enumerate(json.loads(str(archive["graphs"]))):
            arrays = {t["name"]: archive[f"{position}/{t['name']}"] for t in graph["tensors"]}
            results[str(position)] = run(graph, arrays)
    np.savez(path, **results)
    print(path, flush=True)


if __name__ == "__main__":
    for line in sys.stdin:
        answer(line.rstrip("\n"))
