"""Integer against fake-quant: each layer by itself (teacher-forced), and whole runs (free-running).

Teacher-forced: the layer gets the fake-quant model's own input, so what differs is the layer. Free-running:
errors accumulate, and rounding amplifies any perturbation, so the figures stand beside a control: float32
against float64 of the same fake-quant model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hqsim.graph import Node
from hqsim.ops import OPERATORS, Multiply
from hqsim.ops.quantize import Quantize, transform_of
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

    def operands(self, mode: str) -> Difference:
        """Codes of all operand quantizers together."""
        total = Difference()
        for (found, _, _), difference in self.differences.items():
            if found == mode and difference.compared:
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
    qmodel: QuantizedModel, settings: SamplingSettings, progress: Progress
) -> FakeQuantResult:
    """Run integer, fake-quant (float32 and float64) and float from the same noise and compare."""
    result = FakeQuantResult()
    runners: dict[str, Any] = {
        "integer": CodeExecutor(qmodel, form="integer"),
        "fakequant": TorchExecutor(qmodel, fake=True),
        "fakequant64": TorchExecutor(qmodel, fake=True, double=True),
        "float": TorchExecutor(qmodel, fake=False),
    }
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
        for name in ("fakequant64", "float"):
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
        scale = output.scale_at(entry)
        difference.add_values(codes * scale, ours.value * scale)
    else:
        difference.add_values(fake.value.double().numpy(), ours.value * output.scale)


def _fake_codes(qmodel: QuantizedModel, node: Node, x: Any, entry: int) -> np.ndarray:
    output = qmodel.formats[node.name]
    operator = OPERATORS[node.op]
    assert isinstance(operator, Quantize)
    return operator.fake(node, x, output.scale_at(entry), output)[0].numpy().astype(np.int64)


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
        if operator.is_view or node.op in ("embedding", "timestep_embedding"):
            return
        difference = self.result.difference(TEACHER_FORCED, node.name, step)
        output = self.qmodel.formats[node.name]
        arrays = self.integer.arrays(node, entry)
        if isinstance(operator, Multiply):
            codes = [self.codes.pop(name) for name in node.inputs]
            sums = operator.accumulate_integer(node, arrays, codes)
            self._check_product(node, operator, codes, sums, entry)
            result, _ = operator.finish_integer(arrays, sums, output)
        else:
            codes = [self._encode(name, value) for name, value in zip(node.inputs, fake.inputs, strict=True)]
            result, _ = operator.integer(node, arrays, codes, output)
        if node.op == "quantize":
            expected = _fake_codes(self.qmodel, node, fake.inputs[0], entry)
            self.codes[node.name] = expected.astype(output.dtype)
            difference.add_codes(expected, result)
            difference.add_values(expected * output.scale_at(entry), result * output.scale_at(entry))
        else:
            real = fake.value.double().numpy()
            difference.add_values(real, result * output.scale)
            apart = np.abs(np.clip(real / output.scale, output.low, output.high) - result)
            difference.max_lsb = max(difference.max_lsb, int(np.ceil(apart.max(initial=0) - 0.5)))

    def _encode(self, name: str, value: Any) -> np.ndarray:
        return self.qmodel.formats[name].encode(value.double().numpy())

    def _check_product(
        self, node: Node, operator: Multiply, codes: list[np.ndarray], sums: np.ndarray, entry: int
    ) -> None:
        """Sums times scale against the float64 product of the same dequantized operands."""
        import torch

        operands = [
            self._dequantize(name, code, entry) for name, code in zip(node.inputs, codes, strict=True)
        ]
        parameters = {}
        scale = np.ones(1)
        if "weight" in node.parameters:
            weight = self.qmodel.weights[node.parameters["weight"]]
            shape = (-1, *[1] * (weight.codes.ndim - 1))
            real = torch.from_numpy(weight.codes * weight.scales.reshape(shape))
            parameters[node.parameters["weight"]] = real
            scale = weight.scales
        transform = transform_of(node)
        for name in node.inputs:
            scale = scale * self.qmodel.formats[name].scale_at(entry)
        factor = node.attributes.get("factor", 1.0)
        assert isinstance(factor, float)
        scale = scale * factor / (transform.size if transform else 1)
        without_bias = Node(
            node.name,
            node.op,
            node.inputs,
            node.type,
            node.attributes,
            {role: name for role, name in node.parameters.items() if role != "bias"},
        )
        product = operator.evaluate(without_bias, operands, parameters).numpy()
        axis = operator.channel_axis % product.ndim
        per_channel = [-1 if position == axis else 1 for position in range(product.ndim)]
        error = np.abs(sums * scale.reshape(per_channel) - product).max() / max(np.abs(product).max(), 1e-300)
        self.result.product_error[node.name] = max(
            self.result.product_error.get(node.name, 0.0), float(error)
        )

    def _dequantize(self, name: str, codes: np.ndarray, entry: int) -> Any:
        """The value that a product sees, in float64: through the dense inverse, not the butterflies."""
        import torch

        node = self.qmodel.graph[name]
        operator = OPERATORS["quantize"]
        assert isinstance(operator, Quantize)
        transform = transform_of(node)
        scale = self.qmodel.formats[name].scale_at(entry) / (transform.size if transform else 1)
        return operator.transformed(node, torch.from_numpy(codes.astype(np.float64)), inverse=True) * scale
