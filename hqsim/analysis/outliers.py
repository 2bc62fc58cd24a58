"""Outliers of every operand and weight, before and after each transform, on the float model's trajectory.

Transforms are normalised here, ``Ĥ / sqrt(n)``, so that the rms of a tensor stays and what changes is how its
energy is spread. One tensor at a time is looked at; what is kept of it are statistics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hqsim.analysis.memory import release_freed
from hqsim.analysis.statistics import Statistics
from hqsim.analysis.trajectory import follow
from hqsim.errors import NumericsError
from hqsim.graph import Node, TensorType
from hqsim.numerics import Format, Transform, block_order
from hqsim.ops import OPERATORS
from hqsim.ops.quantize import Quantize, channel_steps, transform_of
from hqsim.ops.realisation import is_double
from hqsim.ops.segments import segments_of
from hqsim.ops.sums import groups_of

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from hqsim.quantize import QuantizedModel
    from hqsim.simulate.sampler import Progress, SamplingSettings

NONE, RECIPE, WEIGHT = "none", "recipe", "weight"
CANDIDATES = MappingProxyType(
    {
        "width-k5": Transform("width", 5, signs=False),
        "width-k5-signs": Transform("width", 5, signs=True),
        "channel-k3": Transform("channel", 3, signs=False),
        "channel-k3-signs": Transform("channel", 3, signs=True),
    }
)
"""What operands are seen under, by name, beside no transform and the recipe's own."""
WEIGHT_CANDIDATES = MappingProxyType(
    {
        "channel-k5": Transform("channel", 5, signs=False),
        "channel-k5-signs": Transform("channel", 5, signs=True),
    }
)
SQNR_BITS = (3, 4, 8)
SQNR_COLUMNS = tuple(f"sqnr_{bits}bit_db" for bits in SQNR_BITS)
PIECE = 1 << 22
"""Weights that are looked at together: a transform and its statistics take several times their size."""
RELEASE_NODES, RELEASE_WEIGHTS = 64, 16
"""After so many nodes of a walk, and weights, freed memory goes back."""
HISTOGRAM_EDGES = np.sinh(np.linspace(-7.0, 7.0, 141))
"""Of the histograms of value/rms: 0.1 apart at 0, a tenth of the value apart far out, up to 548."""

Transforms = Mapping[str, Transform | None]


def outliers(
    qmodel: QuantizedModel, settings: SamplingSettings, progress: Progress
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, np.ndarray]]:
    """Return statistics of every activation operand and weight of the float model, by transform.

    A transform's order is the largest one up to that in its name whose blocks divide the axis, as recipes
    take it; one that is left with order 0 is left out.

    Parameters
    ----------
    qmodel
        The quantized model; its float model is loaded too. The recipe's transforms and ranges are its own.
    settings
        The float model's trajectory. Statistics of a step are those of all its images.

    Returns
    -------
    activations
        One row per ``layer``, ``operand`` (its number among the layer's inputs), ``step``, ``timestep`` and
        ``transform``: ``values`` (count), ``absolute_maximum``, ``rms``, ``crest``, ``kurtosis``, ``p99_9``,
        ``p99_99`` (of magnitudes), ``top_energy_percent``, ``zero_percent``, ``clipped_percent`` (values
        outside the range of their codes, of transform ``recipe`` alone), ``sqnr_3bit_db``, ``sqnr_4bit_db``,
        ``sqnr_8bit_db`` (symmetric, optimal clip).
    weights
        The same per ``layer`` and ``transform``; under ``channel-k5`` as a double transform makes them.
    arrays
        By name, with ``PLACE = LAYER/OPERAND/TRANSFORM`` (operand ``weight`` for weights):
        ``maxima/PLACE/channel`` and, for images, ``maxima/PLACE/width``, largest magnitudes over all steps,
        float32; ``histogram/PLACE``, int64 counts of value/rms, the rms that of its step, over all steps;
        ``histogram_edges``, float64.

    Raises
    ------
    NumericsError
        For an activation or a weight that is not finite, with its layer.
    """
    import pandas as pd

    from hqsim.quantize.calibrate import one_thread

    arrays: dict[str, np.ndarray] = {"histogram_edges": HISTOGRAM_EDGES}
    with one_thread():  # Float sums depend on the number of threads.
        operands = _operands(qmodel, arrays)
        rows = list(_activation_rows(qmodel, operands, settings, progress))
        weights = list(_weight_rows(qmodel, arrays, progress))
    order = {(seen.layer, seen.operand): index for index, seen in enumerate(operands.values())}
    rows.sort(key=lambda row: order[row["layer"], row["operand"]])
    return pd.DataFrame(rows), pd.DataFrame(weights), arrays


def weight_outliers(qmodel: QuantizedModel, progress: Progress) -> pd.DataFrame:
    """Return the table ``weights`` of :func:`outliers` alone, which needs no trajectory."""
    import pandas as pd

    from hqsim.quantize.calibrate import one_thread

    with one_thread():
        return pd.DataFrame(_weight_rows(qmodel, {}, progress))


@dataclass
class _Seen:
    """A tensor under its transforms, by name; its maxima and histograms are kept in ``arrays``."""

    layer: str
    operand: int | str
    channel_axis: int
    transforms: Transforms
    arrays: dict[str, np.ndarray]
    statistics: dict[Transform | None, Statistics] = field(default_factory=dict)
    clipped: int = 0

    def add(self, x: Tensor, lowest: Tensor | float, highest: Tensor | float) -> None:
        """Add float32 values; the codes of the recipe hold what lies in ``[lowest, highest)``."""
        for transform in dict.fromkeys(self.transforms.values()):
            y = transformed(x, transform, self.channel_axis)
            try:
                self.statistics.setdefault(transform, Statistics()).add(y.numpy())
            except NumericsError as error:
                raise NumericsError(f"{self.layer}, operand {self.operand}: {error}") from None
            names = [name for name, other in self.transforms.items() if other == transform]
            self._widen(names, y.abs())
            if RECIPE in names:
                self.clipped += int(((y < lowest) | (y >= highest)).sum())

    def _widen(self, names: list[str], magnitudes: Tensor) -> None:
        axes = {"channel": self.channel_axis}
        if self.operand != WEIGHT and self.channel_axis == 1 and magnitudes.ndim == 4:
            axes["width"] = 3
        for axis_name, axis in axes.items():
            found = magnitudes.amax([other for other in range(magnitudes.ndim) if other != axis]).numpy()
            for name in names:
                key = f"maxima/{self.layer}/{self.operand}/{name}/{axis_name}"
                self.arrays[key] = np.maximum(self.arrays[key], found) if key in self.arrays else found

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the columns from ``transform`` on, one row per transform, and forget what was added."""
        sqnr_db = {
            transform: dict(zip(SQNR_COLUMNS, found.sqnr_db(SQNR_BITS), strict=True))
            for transform, found in self.statistics.items()
        }
        for name, transform in self.transforms.items():
            found = self.statistics[transform]
            key = f"histogram/{self.layer}/{self.operand}/{name}"
            counts = found.in_units_of_rms(HISTOGRAM_EDGES)
            self.arrays[key] = self.arrays[key] + counts if key in self.arrays else counts
            yield {
                "transform": name,
                "values": found.moments.count,
                "absolute_maximum": found.absolute_maximum,
                "rms": found.rms,
                "crest": found.crest,
                "kurtosis": found.moments.kurtosis,
                "p99_9": found.percentile(99.9),
                "p99_99": found.percentile(99.99),
                "top_energy_percent": found.top_energy_percent(),
                "zero_percent": found.zero_percent,
                "clipped_percent": 100.0 * self.clipped / found.moments.count if name == RECIPE else np.nan,
                **sqnr_db[transform],
            }
        self.statistics.clear()
        self.clipped = 0


def transformed(x: Tensor, transform: Transform | None, channel_axis: int) -> Tensor:
    """Return ``x`` (torch) under a transform that keeps its rms: ``D Ĥ / sqrt(n)`` on blocks."""
    if transform is None:
        return x
    attributes = {
        "hadamard_axis": transform.axis,
        "hadamard_order": transform.order,
        "hadamard_signs": transform.signs,
        "channel_axis": channel_axis,
    }
    node = Node("", "quantize", (), TensorType(tuple(x.shape[1:])), MappingProxyType(attributes))
    spread: Tensor = _QUANTIZE.transformed(node, x)
    return spread.mul_(transform.size**-0.5)


def _operands(qmodel: QuantizedModel, arrays: dict[str, np.ndarray]) -> dict[str, _Seen]:
    """What is seen of the input of every quantizer, by the quantizer's name, in execution order."""
    from hqsim.simulate.verify import matrix_layers

    found = {}
    for layer in matrix_layers(qmodel):
        for index, name in enumerate(layer.inputs):
            node = qmodel.graph[name]
            transforms: dict[str, Transform | None] = {NONE: None}
            if layer.op != "matmul":
                transforms |= fitting(CANDIDATES, layer, node.type.shape)
            transforms[RECIPE] = transform_of(node)
            found[name] = _Seen(layer.name, index, node.integer("channel_axis"), transforms, arrays)
    return found


def fitting(candidates: Transforms, layer: Node, shape: tuple[int, ...]) -> dict[str, Transform | None]:
    """The candidates with the orders that an operand of ``shape`` allows, those of order 0 left out."""
    lengths = {"channel": shape[-1]}
    if layer.op == "conv2d":
        lengths = {"channel": shape[0] // groups_of(layer), "width": shape[-1]}
    found: dict[str, Transform | None] = {}
    for name, transform in candidates.items():
        assert transform is not None
        order = block_order(lengths.get(transform.axis, 1), transform.order, "largest_pow2")
        if order:
            found[name] = replace(transform, order=order)
    return found


def _activation_rows(
    qmodel: QuantizedModel, operands: Mapping[str, _Seen], settings: SamplingSettings, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Follow the float model; a tensor's rows are told once the last part of the batch was seen."""
    from hqsim.simulate.executors import TorchExecutor

    real = TorchExecutor(qmodel, fake=False)
    visits = follow(qmodel, real, settings, "outliers of activations", progress)
    for count, (moment, visit) in enumerate(visits, start=1):
        if count % RELEASE_NODES == 0:
            release_freed()
        seen = operands.get(visit.node.name)
        if seen is None:
            continue
        seen.add(visit.value, *_limits(qmodel.formats, visit.node, moment.entry, visit.value))
        if moment.ends_step:
            place = {"layer": seen.layer, "operand": seen.operand, **moment.columns}
            yield from ({**place, **row} for row in seen.rows())


def _limits(
    formats: Mapping[str, Format], node: Node, entry: int, x: Tensor
) -> tuple[Tensor | float, Tensor | float]:
    """What a quantizer's codes hold of ``x`` at one entry, under a transform that keeps the rms."""
    codes, transform = formats[node.name], transform_of(node)
    step = codes.scale_at(entry) * (transform.size if transform else 1) ** -0.5
    step = step * channel_steps(node, codes, x)
    centre, even = codes.zero_point_at(entry), codes.even
    return (even.low - centre - 0.5) * step, (even.high - centre + 0.5) * step


def _weight_rows(
    qmodel: QuantizedModel, arrays: dict[str, np.ndarray], progress: Progress
) -> Iterator[dict[str, Any]]:
    """The float model's weights, one after another."""
    import torch

    from hqsim.simulate.verify import matrix_layers

    layers = [node for node in matrix_layers(qmodel) if "weight" in node.parameters]
    for index, node in enumerate(layers):
        progress("outliers of weights", index, len(layers))
        name = node.parameters["weight"]
        weight = torch.from_numpy(np.ascontiguousarray(qmodel.source.parameters[name], np.float32))
        transforms = {NONE: None, **fitting(WEIGHT_CANDIDATES, node, _reduced(node))}
        transforms[RECIPE] = transform_of(node) if is_double(node) else None
        seen = _Seen(node.name, WEIGHT, 1, transforms, arrays)
        reach = _weight_reach(qmodel, node, weight.ndim)
        rows = max(1, PIECE // weight[0].numel())
        for part, limit in zip(weight.split(rows), reach.split(rows), strict=True):
            seen.add(part, -limit, limit)
        yield from ({"layer": node.name, **row} for row in seen.rows())
        if (index + 1) % RELEASE_WEIGHTS == 0:
            release_freed()
    progress("outliers of weights", len(layers), len(layers))


def _reduced(node: Node) -> tuple[int, ...]:
    """A shape whose channels are the input channels that a block of the weight may lie in."""
    sides = node.attributes["sides"]
    assert isinstance(sides, tuple)
    return (math.gcd(*sides) * groups_of(node), 1) if node.op == "conv2d" else (math.gcd(*sides),)


def _weight_reach(qmodel: QuantizedModel, node: Node, ndim: int) -> Tensor:
    """What a weight's codes hold, ``[outputs, channels, 1 ...]``, under a transform that keeps the rms."""
    import torch

    codes = qmodel.weights[node.parameters["weight"]]
    lengths = [segment.length for segment in segments_of(node, codes.shape[1])]
    transform = transform_of(node) if is_double(node) else None
    top = (1 << (codes.bits - 1)) - 0.5
    reach = np.repeat(codes.scales, lengths, axis=1) * (top * (transform.size if transform else 1) ** -0.5)
    return torch.from_numpy(reach.reshape(reach.shape + (1,) * (ndim - 2)).astype(np.float32))


_QUANTIZE = cast(Quantize, OPERATORS["quantize"])
