"""The executors over one lowered graph: integer and exact on codes, fake-quant and float in torch.

All speak the same small language (start, predict, guide, advance, image), so that one sampler drives each of
them and a verifier can walk two side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from hqsim.errors import unknown_name
from hqsim.graph import Node
from hqsim.graph.walk import Visit, walk
from hqsim.numerics import Format
from hqsim.ops import OPERATORS, Multiply, ddim
from hqsim.ops.ddim import DdimStep
from hqsim.quantize import QuantizedModel

EXECUTORS = ("integer", "exact", "fakequant", "float")
T = TypeVar("T")


@dataclass(frozen=True)
class StepContext:
    """One sampler step: its timestep, its entry in the tables, the labels of the whole (doubled) batch."""

    timestep: int
    entry: int
    labels: np.ndarray | None
    doubled: bool


class Executor(Protocol[T]):
    """What the sampler needs of an executor; ``T`` is how it holds tensors."""

    def start(self, noise: np.ndarray, steps: Sequence[DdimStep], guidance: float) -> T:
        """Prepare a run (all parameters of the sampler, offline) and return the sample for noise codes."""
        ...

    def predict(self, x: T, step: StepContext) -> Iterator[Visit[T]]:
        """Visit every node of the model; the last result is the predicted noise."""
        ...

    def guide(self, noise: T) -> T:
        """Combine the unconditional (first) and the conditional half of a batch."""
        ...

    def advance(self, x: T, noise: T, index: int) -> T:
        """Return the sample after DDIM step ``index`` of the run."""
        ...

    def image(self, x: T) -> np.ndarray:
        """Return image codes uint8."""
        ...

    def latent(self, x: T) -> np.ndarray:
        """Return the sample as float64 real values (for analysis)."""
        ...


class CodeExecutor:
    """Runs integer codes: by the kernels (``integer``) or by the plain implementation (``exact``).

    ``saturated`` counts clamped codes per node, sampler steps included; ``overflowed`` the events of
    modelled accumulators per product; ``accumulators`` holds the range of the sums of every product that the
    integer form saw.
    """

    def __init__(self, qmodel: QuantizedModel, *, form: str) -> None:
        self.qmodel = qmodel
        self.form = form
        self.saturated: dict[str, int] = {}
        self.overflowed: dict[str, int] = {}
        self.accumulators: dict[str, tuple[int, int]] = {}
        self._packed: dict[str, dict[str, np.ndarray]] = {}
        if form == "integer":
            for node in qmodel.graph:
                self._packed[node.name] = OPERATORS[node.op].pack(node, qmodel.node_arrays(node))
        self._sample = qmodel.formats["sample"]
        self._noise = qmodel.formats[qmodel.graph.output]
        self._image = ddim.image_arrays(self._sample)
        self._guidance: Mapping[str, np.ndarray] = {}
        self._steps: list[ddim.StepTables] = []

    def arrays(self, node: Node, entry: int) -> Mapping[str, np.ndarray]:
        """Return the node's parameters at one entry of the timestep tables, packed for the integer form."""
        arrays = self._packed[node.name] if self.form == "integer" else self.qmodel.node_arrays(node)
        return OPERATORS[node.op].at_entry(arrays, entry)

    def evaluate(self, node: Node, inputs: tuple[np.ndarray, ...], entry: int) -> np.ndarray:
        """Return the codes of one node."""
        name, operator, output = node.name, OPERATORS[node.op], self.qmodel.formats[node.name]
        arrays = self.arrays(node, entry)
        if not isinstance(operator, Multiply):
            form = operator.integer if self.form == "integer" else operator.exact
            codes, saturated = form(node, arrays, inputs, output)
        elif self.form == "integer":
            found = operator.finished(node, arrays, inputs, output)
            codes, saturated = found.codes, found.saturated
            low, high = self.accumulators.get(name, (0, 0))
            self.accumulators[name] = (min(low, found.lowest), max(high, found.highest))
            self._overflow(name, found.events)
        else:
            sums, events = operator.sums_exact(node, arrays, inputs)
            codes, saturated = operator.finish_exact(arrays, sums, output)
            self._overflow(name, events)
        self._count(node.name, saturated)
        return codes

    def start(self, noise: np.ndarray, steps: Sequence[DdimStep], guidance: float) -> np.ndarray:
        """Prepare the sampler's tables; the noise codes are the sample."""
        self._guidance = ddim.guidance_arrays(guidance)
        self._steps = [ddim.step_tables(step, sample=self._sample, noise=self._noise) for step in steps]
        return noise

    def predict(self, x: np.ndarray, step: StepContext) -> Iterator[Visit[np.ndarray]]:
        """Visit every node on codes."""
        inputs = _inputs(np.concatenate([x, x]) if step.doubled else x, step)
        return walk(self.qmodel.graph, inputs, lambda node, codes: self.evaluate(node, codes, step.entry))

    def guide(self, noise: np.ndarray) -> np.ndarray:
        """Guidance in one rounding."""
        half = len(noise) // 2
        codes, saturated = ddim.SUMS[self.form](noise[:half], noise[half:], self._guidance, self._noise)
        self._count("sampler.guidance", saturated)
        return codes

    def advance(self, x: np.ndarray, noise: np.ndarray, index: int) -> np.ndarray:
        """One DDIM step."""
        codes, saturated = ddim.step_codes(x, noise, self._steps[index], form=self.form, sample=self._sample)
        self._count("sampler.step", saturated)
        return codes

    def image(self, x: np.ndarray) -> np.ndarray:
        """Image codes; pixels outside [-1, 1] are clipped and not counted as saturation."""
        convert = ddim.image_integer if self.form == "integer" else ddim.image_exact
        return convert(x, self._image)[0]

    def latent(self, x: np.ndarray) -> np.ndarray:
        """Codes times scale."""
        return x * self._sample.scale

    def _overflow(self, name: str, events: int) -> None:
        self.overflowed[name] = self.overflowed.get(name, 0) + events

    def _count(self, name: str, saturated: int) -> None:
        self.saturated[name] = self.saturated.get(name, 0) + saturated


class TorchExecutor:
    """Runs the float model or its fake-quant simulation in torch."""

    def __init__(
        self, qmodel: QuantizedModel, *, fake: bool, double: bool = False, keep: bool = False
    ) -> None:
        import torch

        from hqsim.quantize.torch_model import TorchModel

        self._sample: Format = qmodel.formats["sample"]
        self._steps: list[DdimStep] = []
        self._weight = 1.0
        self.torch_model = TorchModel(
            qmodel.graph if fake else qmodel.float_graph,
            qmodel.real_parameters if fake else qmodel.source.parameters,
            dtype=torch.float64 if double else torch.float32,
            formats=qmodel.formats if fake else None,
            weights=qmodel.weights if fake else None,
            keep=keep,
        )

    def start(self, noise: np.ndarray, steps: Sequence[DdimStep], guidance: float) -> Any:
        """The noise codes times their scale."""
        import torch

        self._steps, self._weight = list(steps), guidance
        return torch.from_numpy(noise * self._sample.scale).to(self.torch_model.dtype)

    def predict(self, x: Any, step: StepContext) -> Iterator[Visit[Any]]:
        """Visit every node on real values."""
        import torch

        inputs = _inputs(torch.cat([x, x]) if step.doubled else x, step)
        inputs = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in inputs.items()
        }
        return self.torch_model.walk(inputs, step.entry)

    def guide(self, noise: Any) -> Any:
        """Guidance in torch."""
        unconditional, conditional = noise.chunk(2)
        return ddim.guide_real(unconditional, conditional, self._weight)

    def advance(self, x: Any, noise: Any, index: int) -> Any:
        """The step in torch."""
        return ddim.step_real(x, noise, self._steps[index])

    def image(self, x: Any) -> np.ndarray:
        """``(x + 1) 127.5``, rounded half up and clipped."""
        real = self.latent(x)
        return np.clip(np.floor((real + 1) * 127.5 + 0.5), 0, 255).astype(np.uint8)

    def latent(self, x: Any) -> np.ndarray:
        """As float64."""
        return x.double().numpy()


def make_executor(qmodel: QuantizedModel, name: str) -> CodeExecutor | TorchExecutor:
    """Return an executor by name: integer, exact, fakequant, float."""
    if name not in EXECUTORS:
        raise unknown_name("executor", name, EXECUTORS)
    if name in ("integer", "exact"):
        return CodeExecutor(qmodel, form=name)
    return TorchExecutor(qmodel, fake=name == "fakequant")


def _inputs(x: Any, step: StepContext) -> Mapping[str, Any]:
    inputs: dict[str, Any] = {"sample": x, "timestep": np.full(len(x), step.timestep, np.int64)}
    if step.labels is not None:
        inputs["class_labels"] = step.labels
    return inputs
