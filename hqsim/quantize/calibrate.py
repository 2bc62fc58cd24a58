"""Static calibration on the model's own sampling trajectories (data-free).

Two runs from noise to image, with guidance: the float model gives a histogram of every (transformed) operand
per timestep and the ranges of the carriers; then the fake-quant model, whose own noise can widen them, adds
its carrier ranges. Where channels have exponents, a run before both finds these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from hqsim.errors import NumericsError
from hqsim.graph import Graph, Node
from hqsim.graph.walk import Visit
from hqsim.models import Model
from hqsim.numerics import Format, snap
from hqsim.ops import OPERATORS, WeightCodes
from hqsim.ops.ddim import guide_real, noise_codes, step_real
from hqsim.ops.quantize import Quantize, channel_steps
from hqsim.quantize.exponents import ChannelMagnitudes
from hqsim.quantize.lower import SAMPLE_BITS, SAMPLE_SCALE, width_formats
from hqsim.quantize.recipe import Recipe
from hqsim.quantize.scales import operand_grid, operand_scale
from hqsim.quantize.torch_model import TorchModel

BINS = 2048
SMALLEST_REACH = 1e-6
"""Reach of an almost dead carrier (keeps its rescale in range)."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class CalibrationSettings:
    """How the trajectories are made."""

    steps: int = 20
    images: int = 16
    guidance: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Histogram:
    """Numbers of values in ``BINS`` equal bins over [low, high]."""

    counts: np.ndarray
    low: float
    high: float


@dataclass
class _Statistics:
    """What a trajectory leaves behind: per operand and step a histogram, per node the largest magnitude."""

    histograms: dict[str, list[Histogram]] = field(default_factory=dict)
    reach: dict[str, float] = field(default_factory=dict)

    def widen(self, name: str, values: Tensor) -> float:
        """Make room for ``values`` in the carrier ``name``; return their largest magnitude."""
        largest = float(values.abs().max())
        self.reach[name] = max(self.reach.get(name, 0.0), largest)
        return largest


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch's float sums depend on the number of threads; the scales must not."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def calibrate(
    model: Model,
    lowered: Graph,
    recipe: Recipe,
    weights: Mapping[str, WeightCodes],
    settings: CalibrationSettings,
    progress: Progress,
    learned: Mapping[str, Format] | None = None,
) -> dict[str, Format]:
    """Return the format of every node of ``lowered``.

    The formats of quantizers that a trainer has ``learned`` are kept but for the snapping of their scales.

    Raises
    ------
    NumericsError
        When an activation is not finite, naming the node and the timestep.
    """
    widths = width_formats(lowered, recipe, {})
    statistics = _Statistics()
    float_model = TorchModel(lowered, model.parameters)
    if learned is None:
        widths |= _found_exponents(model, float_model, settings, widths, progress)
    _run(model, float_model, settings, partial(_observe, statistics, widths), "calibrate (float)", progress)
    used = 1 if recipe.activations.calibration == "first_step" else settings.steps
    operands = dict(learned or {})
    for name, steps in statistics.histograms.items():
        if name not in operands:
            operands[name] = operand_format(lowered[name], steps[:used], widths[name])
    formats = _formats(lowered, recipe, statistics.reach, operands)
    for node in lowered:
        if node.op == "embedding":
            statistics.widen(node.name, float_model.parameters[node.parameters["weight"]])
    fake_model = TorchModel(lowered, model.parameters, formats=formats, weights=weights)
    _run(model, fake_model, settings, partial(_observe, statistics, None), "calibrate (fake-quant)", progress)
    return _formats(lowered, recipe, statistics.reach, operands)


def _formats(
    lowered: Graph, recipe: Recipe, reach: dict[str, float], operands: dict[str, Format]
) -> dict[str, Format]:
    """Carriers from their reach and a margin; operand scales snapped so that ``s_c / ŝ`` is dyadic."""
    high = (1 << (recipe.carriers.bits - 1)) - 1
    carrier_scales = {
        name: float(snap((max(largest, SMALLEST_REACH) if largest else 1.0) * recipe.carriers.margin / high))
        for name, largest in reach.items()
    }
    formats = width_formats(lowered, recipe, carrier_scales)
    for name, operand in operands.items():
        carrier = formats[lowered[name].inputs[0]].scale
        snapped = tuple(float(carrier / snap(carrier / scale)) for scale in operand.scales)
        formats[name] = replace(operand, scales=snapped)
    return formats


def _found_exponents(
    model: Model,
    runner: TorchModel,
    settings: CalibrationSettings,
    widths: Mapping[str, Format],
    progress: Progress,
) -> dict[str, Format]:
    """The operands whose channels have exponents, with those of least squared error."""
    magnitudes: dict[str, ChannelMagnitudes] = {}

    def observe(visit: Visit[Tensor], timestep: int) -> None:
        node = visit.node
        if node.op == "quantize" and widths[node.name].exponents:
            channels = _transformed(visit).movedim(node.integer("channel_axis"), 0).flatten(1)
            magnitudes.setdefault(node.name, ChannelMagnitudes(len(channels))).add(channels)

    if any(width.exponents for width in widths.values()):
        _run(model, runner, settings, observe, "calibrate (exponents)", progress)
    return {
        name: replace(widths[name], exponents=found.exponents(widths[name]))
        for name, found in magnitudes.items()
    }


def operand_format(node: Node, steps: list[Histogram], width: Format) -> Format:
    """Scale and zero-point of every step, or of all steps together."""
    if not node.attributes["per_timestep"]:
        steps = [_merged(steps)]
    if width.signed:
        return replace(
            width, scales=tuple(operand_scale(step.counts, step.high, width.even) for step in steps)
        )
    grids = [operand_grid(step.counts, step.low, step.high, width) for step in steps]
    return replace(
        width,
        scales=tuple(scale for scale, _ in grids),
        zero_points=tuple(zero_point for _, zero_point in grids),
    )


def _merged(steps: list[Histogram]) -> Histogram:
    low, high = min(step.low for step in steps), max(step.high for step in steps)
    merged = np.zeros(BINS)
    for step in steps:
        centres = (np.arange(BINS) + 0.5) * ((step.high - step.low) / BINS) + step.low
        merged += np.histogram(centres, BINS, (low, high), weights=step.counts)[0]
    return Histogram(merged, low, high)


def _run(
    model: Model,
    runner: TorchModel,
    settings: CalibrationSettings,
    observe: Callable[[Visit[Tensor], int], None],
    label: str,
    progress: Progress,
) -> None:
    """One guided DDIM trajectory; ``observe`` sees every visit, and the guided noise as one more."""
    sample_format = Format(bits=SAMPLE_BITS, scales=(SAMPLE_SCALE,))
    codes = noise_codes(
        seed=settings.seed, images=settings.images, shape=model.sample_shape, sample=sample_format, stream=1
    )
    x = torch.from_numpy(codes * SAMPLE_SCALE).to(runner.dtype)
    for index, step in enumerate(model.schedule.steps(settings.steps)):
        progress(label, index, settings.steps)
        inputs = model_inputs(model, x, step.timestep, settings.guidance)
        for visit in runner.walk(inputs, index):
            observe(visit, step.timestep)
            noise = visit.value
        if settings.guidance != 1.0:
            unconditional, conditional = noise.chunk(2)
            noise = guide_real(unconditional, conditional, settings.guidance)
            observe(visit._replace(value=noise), step.timestep)
        x = step_real(x, noise, step)
    progress(label, settings.steps, settings.steps)


def model_inputs(
    model: Model, x: Tensor, timestep: int, guidance: float, labels: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the model's inputs for one step: with guidance the unconditional half comes first.

    Labels cycle through the classes unless they are given.
    """
    if labels is None:
        labels = torch.arange(len(x), device=x.device) % max(model.classes, 1)
    if guidance != 1.0:
        assert model.null_label is not None
        x = torch.cat([x, x])
        labels = torch.cat([torch.full_like(labels, model.null_label), labels])
    inputs = {"sample": x, "timestep": torch.full((len(x),), timestep, device=x.device)}
    if model.classes:
        inputs["class_labels"] = labels
    return inputs


def _observe(
    statistics: _Statistics, widths: dict[str, Format] | None, visit: Visit[Tensor], timestep: int
) -> None:
    """Widen the carriers; ``widths`` ask for histograms too."""
    node: Node = visit.node
    if node.op == "quantize":
        if widths is not None and widths[node.inputs[0]].signed:
            histogram = histogram_of(visit, widths[node.name])
            statistics.histograms.setdefault(node.name, []).append(histogram)
        return
    largest = statistics.widen(node.name, visit.value)
    if not np.isfinite(largest):
        raise NumericsError(f"{node.name}: activation at timestep {timestep} is not finite ({largest})")


def _transformed(visit: Visit[Tensor]) -> Tensor:
    operator = OPERATORS[visit.node.op]
    assert isinstance(operator, Quantize)
    values: Tensor = operator.transformed(visit.node, visit.inputs[0])
    return values


def histogram_of(visit: Visit[Tensor], width: Format) -> Histogram:
    """Return the histogram of the (transformed) values that a quantizer reads, in steps of their channels."""
    values = _transformed(visit) / channel_steps(visit.node, width, visit.inputs[0])
    low, high = float(values.min()), float(values.max())
    low, high = (-max(-low, high), max(-low, high)) if width.signed else (min(low, 0.0), max(high, 0.0))
    counts = torch.histc(values, BINS, low, high).double().numpy() if low < high else np.zeros(BINS)
    return Histogram(counts, low, high)
