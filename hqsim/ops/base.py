"""What every operator offers: shape rule, float form, width rule, integer form, exact form, work count.

The integer form runs the numba kernels. The exact form is an independent plain implementation of the
same contract (float64 products of codes, dense +-1 matrices, int64 elsewhere); it shares formats and
prepared parameters with the kernels, and no code. Both return codes and how many of them saturated.
Forms import their engine when they run, so that shape, width and work need neither torch nor numba.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hqsim.graph import Graph, LayerRecord, Node, TensorUse
from hqsim.numerics import Format
from hqsim.ops.weights import WeightCodes

if TYPE_CHECKING:
    from torch import Tensor

Arrays = Mapping[str, np.ndarray]
Result = tuple[np.ndarray, int]
"""Codes, and the number of codes that saturated."""


@dataclass(frozen=True)
class Preparation:
    """What an operator needs to prepare its integer parameters: formats and float parameters by name."""

    formats: Mapping[str, Format]
    parameters: Mapping[str, np.ndarray]
    weights: Mapping[str, WeightCodes]

    def inputs(self, node: Node) -> tuple[Format, ...]:
        """Formats of the node's inputs."""
        return tuple(self.formats[name] for name in node.inputs)

    def output(self, node: Node) -> Format:
        """Format of the node's result."""
        return self.formats[node.name]


@dataclass(frozen=True)
class WorkContext:
    """What a layer record needs beyond the node: the graph, formats (widths), the batch.

    ``works`` remembers the work of products by shape: a UNet repeats its layers.
    """

    graph: Graph
    formats: Mapping[str, Format]
    batch: int
    accumulator_bits: Mapping[str, int]
    table_steps: int = 1
    works: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def entries(self, node: Node) -> int:
        """Entries of the timestep tables of a quantizer, or of a product.

        A product's change with the scales of its operands, or of its weights.
        """
        if node.attributes.get("per_timestep"):
            return self.table_steps
        for name in node.inputs:
            if self.graph[name].attributes.get("per_timestep"):
                return self.table_steps
        return 1

    @cached_property
    def uses(self) -> Mapping[str, TensorUse]:
        """Every tensor as memories hold it, by node; a view is the tensor that it looks at."""
        from hqsim.ops import OPERATORS

        uses: dict[str, TensorUse] = {}
        for node in self.graph:
            name = node.name
            holder = uses[node.inputs[0]].name if OPERATORS[node.op].is_view else name
            elements = node.type.elements * self.batch
            uses[name] = TensorUse(name=holder, elements=elements, bits=self.formats[holder].bits)
        return uses


class Operator:
    """One kind of node. Subclasses state ``name`` and override what differs from a plain elementwise one."""

    name: ClassVar[str]
    per_step: ClassVar[frozenset[str]] = frozenset()
    """Prepared arrays with a leading timestep axis (length 1 when they do not change)."""
    is_view: ClassVar[bool] = False
    """Whether the result is the input's codes in another arrangement (no work, no memory)."""
    vector_kind: ClassVar[str | None] = None
    """Kind of vector work, one operation per output element."""

    def shape(self, node: Node, inputs: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """Return the shape of one sample of the result."""
        return inputs[0]

    def evaluate(self, node: Node, inputs: Sequence[Tensor], parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the float result (torch), batch leading."""
        raise NotImplementedError(self.name)

    def output_format(self, node: Node, inputs: Sequence[Format], carrier: Format) -> Format:
        """Return the format of the result; ``carrier`` is the calibrated one (width rule)."""
        return inputs[0] if self.is_view else carrier

    def prepare(self, node: Node, preparation: Preparation) -> dict[str, np.ndarray]:
        """Return the integer parameters of the node (offline; the only place with floats)."""
        return {}

    def pack(self, node: Node, arrays: Arrays) -> dict[str, np.ndarray]:
        """Return the parameters as the integer form wants them; the executor calls this once per node."""
        return dict(arrays)

    def at_entry(self, arrays: Mapping[str, np.ndarray], entry: int) -> Mapping[str, np.ndarray]:
        """Return ``arrays`` with one entry of every timestep table."""
        if not self.per_step:
            return arrays
        found = dict(arrays)
        for name in self.per_step & arrays.keys():
            table = arrays[name]
            found[name] = table[min(entry, len(table) - 1)]
        return found

    def integer(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray], output: Format) -> Result:
        """Return the result by the numba kernels, integers only."""
        raise NotImplementedError(self.name)

    def exact(self, node: Node, arrays: Arrays, inputs: Sequence[np.ndarray], output: Format) -> Result:
        """Return the result by the plain, independent implementation."""
        raise NotImplementedError(self.name)

    def record(self, node: Node, context: WorkContext) -> LayerRecord | None:
        """Return what the node costs, or None for a view."""
        return None if self.is_view else self.vector_record(node, context)

    def vector_record(self, node: Node, context: WorkContext, **work: Any) -> LayerRecord:
        """Return the record of a node: its tensors, its vector work, and whatever ``work`` says instead."""
        uses = context.uses
        output = uses[node.name]
        if "vector" not in work:
            work["vector"] = {self.vector_kind: output.elements} if self.vector_kind else {}
        if "inputs" not in work:
            work["inputs"] = tuple([uses[name] for name in node.inputs])
        return LayerRecord(name=node.name, op=node.op, module=node.module, output=output, **work)


def exact_clamp(values: np.ndarray, output: Format) -> Result:
    """Clamp exact int64 ``values`` to ``output`` and count what saturated (exact executor only)."""
    codes = np.clip(values, output.low, output.high)
    return codes.astype(output.dtype), int(np.count_nonzero(codes != values))


def scalar(array: np.ndarray) -> np.int64:
    """Return the single element of a prepared array as int64."""
    return np.int64(array.item())
