"""SQNR of every layer at every step: what its own quantization costs, and what arrives with it.

The float model runs its trajectory, and at each step the quantized model gets the float model's sample. So
the errors of one step do not reach the next, and steps can be compared with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hqsim.graph import Node
from hqsim.ops import OPERATORS, Multiply
from hqsim.quantize import QuantizedModel
from hqsim.simulate.executors import CodeExecutor, StepContext, TorchExecutor
from hqsim.simulate.metrics import Difference
from hqsim.simulate.sampler import (
    Progress,
    SamplingSettings,
    finish_step,
    resolve_settings,
    start_run,
    step_contexts,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class _Cell:
    """One layer at one step."""

    operands: Difference = field(default_factory=Difference)
    alone: Difference = field(default_factory=Difference)
    network: Difference = field(default_factory=Difference)


def layer_sqnr(
    qmodel: QuantizedModel,
    *,
    labels: Sequence[int] | None = None,
    images: int | None = None,
    steps: int = 20,
    guidance: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return one row per matrix layer and step, layers in execution order.

    Parameters
    ----------
    qmodel
        The quantized model; its float model is loaded too.
    labels, images, steps, guidance, seed
        The float model's trajectory, as in ``hqsim.simulate``.

    Returns
    -------
    DataFrame
        ``layer``, ``op``, ``step``, ``timestep``; then, in dB against the float model's own values:
        ``operand_sqnr_db``, its activation operands after quantization; ``alone_sqnr_db``, the result when
        this layer alone is quantized (operands and weights); ``network_sqnr_db``, the integer model's result,
        all layers before it quantized too.

    Raises
    ------
    InputError
        For settings that the model does not have.
    """
    import pandas as pd

    settings = resolve_settings(
        qmodel, labels=labels, images=images, steps=steps, guidance=guidance, seed=seed
    )
    cells: dict[tuple[str, int], _Cell] = {}
    measure = _Measure(qmodel, cells)
    for part in settings.chunks():
        measure.follow(part, progress or (lambda *_: None))
    timesteps = qmodel.model.schedule.timesteps(steps)
    return pd.DataFrame(
        {
            "layer": name,
            "op": qmodel.graph[name].op,
            "step": step,
            "timestep": int(timesteps[step]),
            "operand_sqnr_db": cell.operands.sqnr_db,
            "alone_sqnr_db": cell.alone.sqnr_db,
            "network_sqnr_db": cell.network.sqnr_db,
        }
        for (name, step), cell in cells.items()
    )


class _Measure:
    """The float model's walk beside the integer one, and single layers of the fake-quant model."""

    def __init__(self, qmodel: QuantizedModel, cells: dict[tuple[str, int], _Cell]) -> None:
        self.qmodel = qmodel
        self.cells = cells
        self.real = TorchExecutor(qmodel, fake=False)
        self.fake = TorchExecutor(qmodel, fake=True).torch_model
        self.integer = CodeExecutor(qmodel, form="integer")
        self.layers = {node.name for node in qmodel.graph if isinstance(OPERATORS[node.op], Multiply)}

    def follow(self, settings: SamplingSettings, progress: Progress) -> None:
        """Go along one trajectory."""
        x: Any = start_run(self.qmodel, self.real, settings)
        for step, context in enumerate(step_contexts(self.qmodel, settings)):
            progress("SQNR of layers", step, settings.steps)
            noise = self._compare(x, step, context)
            x = finish_step(self.real, x, noise, settings, step)
        progress("SQNR of layers", settings.steps, settings.steps)

    def _compare(self, x: Any, step: int, context: StepContext) -> Any:
        """Compare every layer at one step; return the float model's noise."""
        codes = self.qmodel.formats["sample"].encode(self.real.latent(x))
        integer = self.integer.predict(codes, context)
        operands: dict[str, Any] = {}
        value: Any = None
        for visit in self.real.predict(x, context):
            node: Node = visit.node
            value = visit.value
            if node.op == "quantize" and node.name in self.qmodel.formats:
                operands[node.name] = self.fake.evaluate(node, visit.inputs, context.entry)
            if node.name not in self.layers:
                continue
            cell = self.cells.setdefault((node.name, step), _Cell())
            seen = tuple(operands.pop(name) for name in node.inputs)
            for original, operand in zip(visit.inputs, seen, strict=True):
                cell.operands.add_values(original.numpy(), operand.numpy())
            cell.alone.add_values(value.numpy(), self.fake.evaluate(node, seen, context.entry).numpy())
            ours = next(other.value for other in integer if other.node.name == node.name)
            cell.network.add_values(value.numpy(), ours * self.qmodel.formats[node.name].scale)
        return value


def first_and_last_step(layers: pd.DataFrame) -> pd.DataFrame:
    """Return :func:`layer_sqnr`'s table at the first and the last step, side by side, and the change in dB.

    One row per layer: ``first_`` and ``last_`` before the names of the measures, ``change_`` is last minus
    first.
    """
    measures = [name for name in layers.columns if name.endswith("_sqnr_db")]
    first, last = (
        layers[layers["step"] == step].set_index("layer")[measures]
        for step in (layers["step"].min(), layers["step"].max())
    )
    parts = [first.add_prefix("first_"), last.add_prefix("last_"), (last - first).add_prefix("change_")]
    return parts[0].join(parts[1:]).reset_index()
