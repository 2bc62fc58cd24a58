"""Sensitivity: what each layer's quantization does to the noise, by itself and missing from the rest.

Both are answered from two walks that are kept, the float model's and fake-quant's: a layer is exchanged for
its other form, and of what follows only the nodes that depend on it are computed again.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hqsim.simulate.metrics import Difference
from hqsim.simulate.sampler import finish_step, start_run, step_contexts

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from hqsim.graph import Graph, Node
    from hqsim.quantize import QuantizedModel
    from hqsim.quantize.torch_model import TorchModel
    from hqsim.simulate.executors import StepContext, TorchExecutor
    from hqsim.simulate.sampler import Progress, SamplingSettings

STEPS = 3
IMAGES = 2
"""A predicted noise has so many elements that two images tell layers apart."""


def sensitivity(
    qmodel: QuantizedModel, settings: SamplingSettings, progress: Progress, *, steps: int = STEPS
) -> pd.DataFrame:
    """Return one row per matrix layer: the SQNR of the predicted noise with that layer changed.

    Parameters
    ----------
    qmodel
        The quantized model; its float model is loaded too, and every weight is held in both forms.
    settings
        The float model's trajectory, of which the first two images are followed; every variant gets its
        sample.
    steps
        Steps of the trajectory that are measured, spread evenly from the first to the last.

    Returns
    -------
    DataFrame
        ``layer``; ``one_on_db``, the SQNR of the noise against float when this layer alone is quantized
        (operands and weights, in fake-quant); ``one_off_db``, when all but this one are; ``gain_db``,
        ``one_off_db`` less that of the whole quantized model: what this layer in float would win;
        ``share_percent``, the share of the final error that the layer causes: the power of the noise's error
        with this layer alone, over the sum of that power over all layers. Where the errors of layers are
        uncorrelated and small, that sum is the whole model's error power; ``steps``, how many were measured.
        The noise is taken with guidance.
    """
    import pandas as pd

    part = replace(settings, labels=settings.labels[:IMAGES])
    measured = set(np.linspace(0, part.steps - 1, min(steps, part.steps)).round().astype(int).tolist())
    bench = _Bench(qmodel)
    x: Any = start_run(qmodel, bench.real, part)
    for step, context in enumerate(step_contexts(qmodel, part)):
        progress("sensitivity of layers", step, part.steps)
        noise = bench.exchange_layers(x, context, part) if step in measured else bench.noise(x, context)
        x = finish_step(bench.real, x, noise, part, step)
    progress("sensitivity of layers", part.steps, part.steps)
    sum_of_powers = sum(cell.error for cell in bench.one_on.values())
    return pd.DataFrame(
        {
            "layer": name,
            "one_on_db": on.sqnr_db,
            "one_off_db": bench.one_off[name].sqnr_db,
            "gain_db": bench.one_off[name].sqnr_db - bench.whole.sqnr_db,
            "share_percent": 100.0 * on.error / sum_of_powers if sum_of_powers else np.nan,
            "steps": len(measured),
        }
        for name, on in bench.one_on.items()
    )


@dataclass(frozen=True)
class _Walk:
    """One evaluation of a model with every value kept."""

    model: TorchModel
    values: dict[str, Tensor]
    entry: int

    @classmethod
    def of(cls, executor: TorchExecutor, x: Tensor, context: StepContext) -> _Walk:
        values: dict[str, Tensor] = {}
        for visit in executor.predict(x, context):
            values |= dict(zip(visit.node.inputs, visit.inputs, strict=True))
            values[visit.node.name] = visit.value
        return cls(executor.torch_model, values, context.entry)

    @property
    def graph(self) -> Graph:
        return self.model.graph

    @property
    def noise(self) -> Tensor:
        return self.values[self.graph.output]

    def noise_with(self, layer: Node, form: TorchModel) -> Tensor:
        """Return the noise with ``layer`` and its operands evaluated by another model."""
        changed: dict[str, Tensor] = {}
        values = ChainMap(changed, self.values)
        exchanged = {layer.name, *layer.inputs}
        for node in self.graph:
            if node.name in exchanged or not changed.keys().isdisjoint(node.inputs):
                inputs = tuple(values[name] for name in node.inputs)
                model = form if node.name in exchanged else self.model
                changed[node.name] = model.evaluate(node, inputs, self.entry)
        return values[self.graph.output]


class _Bench:
    """The float and the fake-quant model side by side, and the differences found so far."""

    def __init__(self, qmodel: QuantizedModel) -> None:
        from hqsim.simulate.executors import TorchExecutor
        from hqsim.simulate.verify import matrix_layers

        self.layers = matrix_layers(qmodel)
        self.real, self.fake = (TorchExecutor(qmodel, fake=fake, keep=True) for fake in (False, True))
        self.one_on = {layer.name: Difference() for layer in self.layers}
        self.one_off = {layer.name: Difference() for layer in self.layers}
        self.whole = Difference()

    def noise(self, x: Tensor, context: StepContext) -> Tensor:
        """Return the float model's noise."""
        *_, last = self.real.predict(x, context)
        return last.value

    def exchange_layers(self, x: Tensor, context: StepContext, settings: SamplingSettings) -> Tensor:
        """Measure every layer at one step; return the float model's noise."""
        real, fake = (_Walk.of(executor, x, context) for executor in (self.real, self.fake))

        def add(cell: Difference, noise: Tensor) -> None:
            wanted, found = (
                self.real.guide(values) if settings.guidance != 1.0 else values
                for values in (real.noise, noise)
            )
            cell.add_values(wanted.double().numpy(), found.double().numpy())

        add(self.whole, fake.noise)
        for layer in self.layers:
            add(self.one_on[layer.name], real.noise_with(layer, fake.model))
            add(self.one_off[layer.name], fake.noise_with(layer, real.model))
        return real.noise
