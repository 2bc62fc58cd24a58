"""TOSA graphs as tests write them, and their evaluation in the reference model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

DRIVER = Path(__file__).with_name("driver.py")
SHAPE = "SHAPE"


class TosaGraph:
    """A few operators in a row; the last one gives the result. Types are TOSA's names."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.tensors: list[dict[str, Any]] = []
        self.operators: list[dict[str, Any]] = []

    def tensor(self, values: Any, kind: str, *, constant: bool = False) -> str:
        """Add an input, or a constant of the graph."""
        name = f"tensor-{len(self.tensors)}"
        self.arrays.append(np.asarray(values))
        self.tensors.append({"name": name, "type": kind, "constant": constant})
        return name

    def constant(self, values: Any, kind: str) -> str:
        """Add a constant: what TOSA wants to know when a graph is compiled."""
        return self.tensor(values, kind, constant=True)

    def add(
        self, op: str, inputs: Sequence[str | int], shape: Sequence[int], kind: str, *attribute: Any
    ) -> int:
        """Add an operator: its attribute's name, then the attribute's values. Return its position."""
        self.operators.append(
            {
                "op": op,
                "inputs": list(inputs),
                "shape": list(map(int, shape)),
                "type": kind,
                "attribute": attribute,
            }
        )
        return len(self.operators) - 1


class TosaReference:
    """The reference model: one process, in an environment of its own, for all requests."""

    def __init__(self, interpreter: Path, folder: Path) -> None:
        self._request = folder / "request.npz"
        self._complaints = folder / "stderr.txt"
        with self._complaints.open("w") as complaints:
            self._process = subprocess.Popen(
                [interpreter, "-I", DRIVER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
            )

    def evaluate(self, graphs: Sequence[TosaGraph]) -> list[np.ndarray]:
        """Return the result of every graph."""
        arrays, described = {}, []
        for position, graph in enumerate(graphs):
            for tensor, values in zip(graph.tensors, graph.arrays, strict=True):
                arrays[f"{position}/{tensor['name']}"] = values
            described.append({"tensors": graph.tensors, "operators": graph.operators})
        np.savez(self._request, graphs=np.array(json.dumps(described)), **arrays)
        assert self._process.stdin and self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{self._request}\n")
            self._process.stdin.flush()
        if self._process.stdout.readline() != f"{self._request}\n":
            raise AssertionError(f"the reference model refused a graph:\n{self._complaints.read_text()}")
        with np.load(self._request) as archive:
            return [archive[str(position)] for position in range(len(graphs))]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
