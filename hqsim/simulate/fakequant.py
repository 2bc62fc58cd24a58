"""Integer against fake-quant: each layer by itself (teacher-forced), and whole runs (free-running).

Teacher-forced: the layer gets the fake-quant model's own input, so what differs is the layer. Free-running:
errors accumulate, and rounding amplifies any perturbation, so the figures stand beside a control: float32
against float64 of the same fake-quant model.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hqsim.graph import Node
from hqsim.ops import OPERATORS, Multiply, Preparation
from hqsim.ops.quantize import Quantize
from hqsim.quantize import QuantizedModel
from hqsim.simulate.executors import CodeExecutor, TorchExecutor
from hqsim.simulate.metrics import Difference, closeness_db, sqnr_db
from hqsim.simulate.sampler import (
    Progress,
    SamplingSettings,
    finish_step,
    start_run,
    step_contexts,
)

TEACHER_FORCED = "teacher-forced"
FREE_RUNNING = "free-running"


@dataclass
class FakeQuantResult:
    """Differences by (mode, node, step), the product check, and the final samples of every run."""

    differences: dict[tuple[str, str, int], Difference] = field(default_factory=dict)
    product_error: dict[str, float] = field(default_factory=dict)
    latents: dict[str, np.ndarray] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)

    def difference(self, mode: str, node: str, step: int) -> Difference:
        """The accumulator of one cell."""
        return self.differences.setdefault((mode, node, step), Difference())

    def operands(self, mode: str, names: Collection[str] | None = None) -> Difference:
        """Codes of all operand quantizers together, or of those in ``names``."""
        total = Difference()
        for (found, name, _), difference in self.differences.items():
            if found == mode and difference.compared and (names is None or name in names):
                total.compared += difference.compared
                total.mismatches += difference.mismatches
                total.max_lsb = max(total.max_lsb, difference.max_lsb)
        return total

    def closeness_db(self) -> tuple[float, float]:
        """Return by how many dB integer is closer to float than fake-quant is, and its standard error."""
        x = self.latents
        return closeness_db(x["float"], x["integer"], x["fakequant"])

    def final_sqnr_db(self) -> dict[str, float]:
        """SQNR of the final samples: against the float model, against fake-quant, and of the control."""
        x = self.latents
        return {
            "integer_against_float": sqnr_db(x["float"], x["integer"]),
            "fakequant_against_float": sqnr_db(x["float"], x["fakequant"]),
            "integer_against_fakequant": sqnr_db(x["fakequant"], x["integer"]),
            "control_float32_against_float64": sqnr_db(x["fakequant64"], x["fakequant"]),
        }


def compare_fakequant(
    qmodel: QuantizedModel, settings: SamplingSettings, progress: Progress, *, layers_only: bool = False
) -> FakeQuantResult:
    """Run integer, fake-quant (float32 and float64) and float from the same noise and compare.

    ``layers_only`` leaves out the runs whose final samples alone are compared: float64 and float.
    """
    result = FakeQuantResult()
    runners: dict[str, Any] = {
        "integer": CodeExecutor(qmodel, form="integer"),
        "fakequant": TorchExecutor(qmodel, fake=True),
    }
    if not layers_only:
        runners["fakequant64"] = TorchExecutor(qmodel, fake=True, double=True)
        runners["float"] = TorchExecutor(qmodel, fake=False)
    states = {name: start_run(qmodel, runner, settings) for name, runner in runners.items()}
    teacher = _Teacher(qmodel, runners["integer"], result)
    for step, context in enumerate(step_contexts(qmodel, settings)):
        progress("verify against fake-quant", step, settings.steps)
        predicted: dict[str, Any] = {}
        walks = (runners[name].predict(states[name], context) for name in ("integer", "fakequant"))
        for ours, fake in zip(*walks, strict=True):
            _compare_running(qmodel, result, ours, fake, step, context.entry)
            teacher.compare(fake, step, context.entry)
            predicted |= {"integer": ours.value, "fakequant": fake.value}
        for name in runners.keys() - predicted.keys():
            for visit in runners[name].predict(states[name], context):
                predicted[name] = visit.value
        for name, runner in runners.items():
            states[name] = finish_step(runner, states[name], predicted[name], settings, step)
    progress("verify against fake-quant", settings.steps, settings.steps)
    result.latents = {name: runner.latent(states[name]) for name, runner in runners.items()}
    result.images = {name: runner.image(states[name]) for name, runner in runners.items()}
    return result


def _compare_running(
    qmodel: QuantizedModel, result: FakeQuantResult, ours: Any, fake: Any, step: int, entry: int
) -> None:
    """Free-running: carriers by SQNR, operand codes by mismatches."""
    node: Node = ours.node
    difference = result.difference(FREE_RUNNING, node.name, step)
    output = qmodel.formats[node.name]
    if node.op == "quantize":
        codes = _fake_codes(qmodel, node, fake.inputs[0], entry)
        difference.add_codes(codes, ours.value)
        difference.add_values(output.decode(codes, entry), output.decode(ours.value, entry))
    else:
        difference.add_values(fake.value.double().numpy(), ours.value * output.scale)


def _fake_codes(qmodel: QuantizedModel, node: Node, x: Any, entry: int) -> np.ndarray:
    output = qmodel.formats[node.name]
    operator = OPERATORS[node.op]
    assert isinstance(operator, Quantize)
    return operator.fake(node, x, output, entry)[0].numpy().astype(np.int64)


class _Teacher:
    """Feeds each integer layer the fake-quant model's own input and compares what comes out."""

    def __init__(self, qmodel: QuantizedModel, integer: CodeExecutor, result: FakeQuantResult) -> None:
        self.qmodel = qmodel
        self.integer = integer
        self.result = result
        self.codes: dict[str, np.ndarray] = {}

    def compare(self, fake: Any, step: int, entry: int) -> None:
        """Compare one node of the fake-quant walk."""
        node: Node = fake.node
        operator = OPERATORS[node.op]
        if operator.is_view or node.op in ("embedding", "timestep_embedding", "temporal_table"):
            return
        difference = self.result.difference(TEACHER_FORCED, node.name, step)
        output = self.qmodel.formats[node.name]
        arrays = self.integer.arrays(node, entry)
        if isinstance(operator, Multiply):
            codes = [self.codes.pop(name) for name in node.inputs]
            arrays = operator.at_entry(self.qmodel.node_arrays(node), entry)
            sums, events = operator.sums_integer(node, arrays, codes)
            self.result.product_error.setdefault(node.name, 0.0)
            if not events:  # An accumulator that overflowed is meant to differ.
                self._check_product(node, operator, codes, sums, entry)
            result, _ = operator.finish_integer(arrays, sums, output)
        else:
            codes = [self._encode(name, value) for name, value in zip(node.inputs, fake.inputs, strict=True)]
            result, _ = operator.integer(node, arrays, codes, output)
        if node.op == "quantize":
            expected = _fake_codes(self.qmodel, node, fake.inputs[0], entry)
            self.codes[node.name] = expected.astype(output.dtype)
            held = _fake_codes(self.qmodel, node, self._held(node.inputs[0], fake.inputs[0]), entry)
            difference.add_codes(held, result)
            difference.add_values(output.decode(expected, entry), output.decode(result, entry))
        else:
            real = fake.value.double().numpy()
            difference.add_values(real, result * output.scale)
            apart = np.abs(np.clip(real / output.scale, output.low, output.high) - result)
            difference.max_lsb = max(difference.max_lsb, int(np.ceil(apart.max(initial=0) - 0.5)))

    def _held(self, name: str, value: Any) -> Any:
        """What the carrier ``name`` can hold of a value: its clipping is no fault of the quantizer."""
        carrier = self.qmodel.formats[name]
        return value.clamp(carrier.low * carrier.scale, carrier.high * carrier.scale)

    def _encode(self, name: str, value: Any) -> np.ndarray:
        return self.qmodel.formats[name].encode(value.double().numpy())

    def _check_product(
        self, node: Node, operator: Multiply, codes: list[np.ndarray], sums: np.ndarray, entry: int
    ) -> None:
        """Sums times scale, added up, against the float64 product of the same dequantized operands."""
        import torch

        operands = [
            self._dequantize(name, code, entry) for name, code in zip(node.inputs, codes, strict=True)
        ]
        parameters = {}
        if "weight" in node.parameters:
            name = node.parameters["weight"]
            parameters[name] = torch.from_numpy(operator.real_weight(node, self.qmodel.weights[name], entry))
        without_bias = {role: name for role, name in node.parameters.items() if role != "bias"}
        product = operator.evaluate(replace(node, parameters=without_bias), operands, parameters).numpy()
        scales = operator.product_scale(node, Preparation(self.qmodel.formats, {}, self.qmodel.weights))
        axis = operator.channel_axis % product.ndim
        shape = [-1 if position == axis else 1 for position in range(product.ndim)]
        steps = scales[min(entry, len(scales) - 1)]
        real = sum(part * scale.reshape(shape) for part, scale in zip(sums, steps, strict=True))
        error = np.abs(real - product).max() / max(np.abs(product).max(), 1e-300)
        self.result.product_error[node.name] = max(self.result.product_error[node.name], float(error))

    def _dequantize(self, name: str, codes: np.ndarray, entry: int) -> Any:
        """The value that a product sees, in float64: through the dense inverse, not the butterflies."""
        import torch

        operator = OPERATORS["quantize"]
        assert isinstance(operator, Quantize)
        real = torch.from_numpy(codes.astype(np.float64))
        return operator.dequantized(self.qmodel.graph[name], real, self.qmodel.formats[name], entry)
