"""Finite-set calibration of operands (Huang et al., TFMQ-DM, section 4.3): ranges of their own per timestep.

A sampler visits finitely many timesteps, so each has scales and zero-points of its own. At a timestep the
first batch gives the range of least squared error; every further batch moves its ends:

    end <- m end + (1 - m) end of the batch          m = 0.95

All inputs come from the quantized model: weights as they are, operands by the ranges found so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hqsim.errors import NumericsError
from hqsim.graph import Node
from hqsim.graph.walk import Visit, walk
from hqsim.numerics import Format, round_half_up
from hqsim.ops import OPERATORS
from hqsim.ops.quantize import Quantize
from hqsim.quantize.calibrate import histogram_of, operand_format
from hqsim.quantize.torch_model import TorchModel


@dataclass(frozen=True)
class Range:
    """The real values that stand on the first and the last code."""

    low: float
    high: float

    @classmethod
    def of(cls, format_: Format) -> Range:
        """Return the range of a format with one scale."""
        if format_.signed:
            reach = format_.scale * (format_.high + 0.5)
            return cls(-reach, reach)
        ends = format_.decode(np.array([format_.low, format_.high]))
        return cls(float(ends[0]), float(ends[1]))

    def moved(self, low: float, high: float, momentum: float) -> Range:
        """Return the range after a batch with the ends ``low`` and ``high``."""
        old, new = momentum, 1.0 - momentum
        return Range(old * self.low + new * low, old * self.high + new * high)

    def format(self, width: Format) -> Format:
        """Return the format of this range: ``width`` with its scale and its zero-point."""
        if self.high <= self.low:
            return width
        if width.signed:
            return replace(width, scales=(self.high / (width.high + 0.5),))
        scale = (self.high - self.low) / (width.high - width.low)
        zero_point = int(np.clip(round_half_up(-self.low / scale), width.low, width.high))
        return replace(width, scales=(scale,), zero_points=(zero_point,))


class _Calibration:
    """One walk after the other through the quantized model; ``formats`` are those of the current timestep."""

    def __init__(self, model: TorchModel, widths: Mapping[str, Format], momentum: float) -> None:
        self.model = model
        self.widths = widths
        self.momentum = momentum
        self.ranges: dict[str, Range] = {}
        self.formats: dict[str, Format] = {}

    def forget(self, names: Sequence[str]) -> None:
        """Begin anew with the ranges of ``names``."""
        for name in names:
            self.ranges.pop(name, None)

    @torch.no_grad()
    def evaluate(self, node: Node, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return the result of a node; a quantizer looks at its values first."""
        operator = OPERATORS[node.op]
        if not isinstance(operator, Quantize):
            return self.model.evaluate(node, inputs, 0)
        if self.widths[node.inputs[0]].signed:
            self._observe(node, operator.transformed(node, inputs[0]), inputs[0])
        return operator.fake(node, inputs[0], self.formats.get(node.name, self.widths[node.name]), 0)[1]

    def _observe(self, node: Node, values: Tensor, x: Tensor) -> None:
        width = self.widths[node.name]
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        if not np.isfinite(high - low):
            raise NumericsError(f"{node.name}: an operand is not finite while its range is calibrated")
        if node.name not in self.ranges:
            histogram = histogram_of(Visit(node, (x,), x), width)
            once = replace(node, attributes={**node.attributes, "per_timestep": True})
            self.formats[node.name] = operand_format(once, [histogram], width)
            self.ranges[node.name] = Range.of(self.formats[node.name]) if low < high else Range(low, high)
            return
        if width.signed:
            low, high = -max(-low, high), max(-low, high)
        self.ranges[node.name] = self.ranges[node.name].moved(low, high, self.momentum)
        self.formats[node.name] = self.ranges[node.name].format(width)


def calibrate_operands(
    model: TorchModel,
    widths: Mapping[str, Format],
    batches: Sequence[Sequence[Mapping[str, Tensor]]],
    *,
    momentum: float,
) -> dict[str, Format]:
    """Return the format of every quantizer that is calibrated, with an entry per timestep or one for all.

    Parameters
    ----------
    model
        The lowered graph with quantized weights; its operands are not quantized.
    widths
        The format of every node, widths only.
    batches
        Per timestep the batches of the model's inputs.
    momentum
        Share of a range that stays when a batch moves it.

    Raises
    ------
    NumericsError
        When a value is not finite, with its quantizer.
    """
    calibration = _Calibration(model, widths, momentum)
    varying = [node.name for node in model.graph if node.op == "quantize" and node.attributes["per_timestep"]]
    found: list[dict[str, Format]] = []
    for step in batches:
        calibration.forget(varying)
        for inputs in step:
            for _ in walk(model.graph, inputs, calibration.evaluate):
                pass
        found.append(dict(calibration.formats))
    return {
        name: _joined([formats[name] for formats in (found if name in varying else found[-1:])])
        for name in calibration.formats
    }


def _joined(steps: Sequence[Format]) -> Format:
    """One format with the scales and zero-points of all ``steps``."""
    return replace(
        steps[0],
        scales=tuple(step.scale for step in steps),
        zero_points=steps[0].zero_points if steps[0].signed else tuple(step.zero_points[0] for step in steps),
    )
