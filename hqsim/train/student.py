"""The student: the lowered graph in torch, its quantizers and weights with gradients.

Everything between products stays float, as in every fake-quant model. What is learned: low-rank changes of
the weights, a scale per weight segment, and of every operand a scale (and a zero-point) per timestep. Scales
are held in the orthonormal domain (``fake_quant.py``). Weight scales per timestep are ratios to the one that
rounds, so that all timesteps share the codes: ``w_t = r_t s clamp(floor(W / s + 1/2))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hqsim.graph import Graph, Node
from hqsim.graph.walk import Visit, walk
from hqsim.numerics import Format, snap
from hqsim.ops import OPERATORS, Multiply, WeightCodes
from hqsim.ops.quantize import channel_steps, transform_of
from hqsim.ops.realisation import is_double
from hqsim.ops.segments import segments_of
from hqsim.train.fake_quant import Rotation, fake_quantize
from hqsim.train.lora import LowRank

SMALLEST_SHARE = 1 / 16
"""A learned scale stays at or above this share of its start, so that it cannot vanish or change its sign."""


def visits(
    graph: Graph,
    inputs: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    quantize: Callable[[Node, Tensor], Tensor] | None = None,
) -> Iterator[Visit[Tensor]]:
    """Visit every node of a lowered graph; without ``quantize`` it is the float model."""

    def evaluate(node: Node, values: tuple[Tensor, ...]) -> Tensor:
        if node.op == "quantize":
            return values[0] if quantize is None else quantize(node, values[0])
        return OPERATORS[node.op].evaluate(node, values, parameters)

    return walk(graph, inputs, evaluate)


class Grid(NamedTuple):
    """Scale and zero-point of a quantizer, the latter also as a number (None, 0: symmetric codes)."""

    scale: Tensor
    zero_point: Tensor | None
    zero: float


class Operands(nn.Module):
    """Scales and zero-points of the quantizers: a vector over all of them per table entry.

    An entry is a parameter of its own, so that an update moves (and decays, and counts for the optimizer) the
    entry of its timestep alone.
    """

    def __init__(self, nodes: list[Node], formats: Mapping[str, Format]) -> None:
        super().__init__()
        self.nodes = nodes
        self.unsigned = [node for node in nodes if not formats[node.name].signed]
        count = max((len(formats[node.name].scales) for node in nodes), default=0)
        scales = [
            [formats[node.name].scale_at(entry) / unit_of(node, formats) for node in nodes]
            for entry in range(count)
        ]
        zeros = [
            [formats[node.name].zero_point_at(entry) for node in self.unsigned] for entry in range(count)
        ]
        self.scales = nn.ParameterList(torch.tensor(row) for row in scales)
        self.zero_points = nn.ParameterList(torch.tensor(row, dtype=torch.float32) for row in zeros)

    def at(self, entry: int) -> dict[str, Grid]:
        """Return the grid of every quantizer at ``entry`` (a static table has one)."""
        if not self.nodes:
            return {}
        entry = min(entry, len(self.scales) - 1)
        zeros: dict[str, tuple[Tensor, float]] = {}
        if self.unsigned:
            names, values = [node.name for node in self.unsigned], self.zero_points[entry]
            pairs = zip(values.unbind(), values.tolist(), strict=True)
            zeros = dict(zip(names, pairs, strict=True))
        return {
            node.name: Grid(scale, *zeros.get(node.name, (None, 0.0)))
            for node, scale in zip(self.nodes, self.scales[entry].unbind(), strict=True)
        }

    def learned(self, formats: Mapping[str, Format], entries: list[int]) -> dict[str, Format]:
        """Return the formats with the learned values of ``entries``: zero-points rounded and in range."""
        tables = [self.at(entry) for entry in (entries if len(self.scales) > 1 else [0])]
        found = {}
        for node in self.nodes:
            grids, old = [table[node.name] for table in tables], formats[node.name]
            found[node.name] = replace(
                old,
                scales=tuple(float(grid.scale.detach()) * unit_of(node, formats) for grid in grids),
                zero_points=tuple(_nearest_code(grid.zero, old) for grid in grids),
            )
        return found


class QuantizedLayer(nn.Module):
    """The weight of one product: frozen, with a low-rank change, and quantized with learned scales."""

    def __init__(self, node: Node, weight: np.ndarray, codes: WeightCodes, low_rank: LowRank | None) -> None:
        super().__init__()
        self.node = node
        self.low_rank = low_rank
        self.high = (1 << (codes.bits - 1)) - 1
        self.bits = codes.bits
        self.lengths = [segment.length for segment in segments_of(node, weight.shape[1])]
        self.root = root_of(node) if is_double(node) else 1.0
        self.scale = nn.Parameter(torch.from_numpy(codes.scales / self.root).float())
        self.count = weight[0].size // len(self.lengths)
        self.rotation: Rotation | None = None
        self.weight = torch.from_numpy(weight)

    def place(self, weight: Tensor, device: torch.device) -> None:
        """Take the frozen weight; make its transform where it is quantized transformed."""
        self.weight = weight
        if is_double(self.node):
            self.rotation = Rotation.of(self.node, 1, dtype=torch.float32, device=device)

    def merged(self) -> Tensor:
        """The weight with its low-rank change."""
        return self.low_rank.merged(self.weight) if self.low_rank else self.weight

    def quantized(self, ratio: Tensor | None = None) -> Tensor:
        """What the codes keep of the merged weight; their real values times ``ratio``, if given.

        A ratio has the scales' shape ``[outputs, segments]`` and meets the codes, in their domain.
        """
        if ratio is None:
            return self._kept(self.merged(), self.rotation)
        if self.rotation is None:
            return self._kept(self.merged(), None) * self._spread(ratio)
        kept = self._kept(self.rotation.forward(self.merged()), None)
        return self.rotation.inverse(kept * self._spread(ratio))

    def _kept(self, weight: Tensor, rotation: Rotation | None) -> Tensor:
        limits = (-self.high, self.high)
        return fake_quantize(weight, self._spread(self.scale), limits, count=self.count, rotation=rotation)

    def codes(self, ratios: list[Tensor] | None = None) -> WeightCodes:
        """Return codes and dyadic scales; with ``ratios`` a scale for each of them."""
        with torch.no_grad():
            scales = snap(self.scale.double().cpu().numpy() * self.root)
            merged = self.merged()
            real = self.rotation.forward(merged) * self.root if self.rotation else merged
            lengths = torch.tensor(self.lengths)
            steps = torch.from_numpy(scales).repeat_interleave(lengths, 1)
            steps = steps.view(*steps.shape, *[1] * (real.ndim - 2))
            found = (real.double().cpu() / steps + 0.5).floor().clamp(-self.high, self.high)
            if ratios is not None:
                scales = snap(scales * torch.stack(ratios).double().cpu().numpy())
        return WeightCodes.of(found.to(torch.int8).numpy(), scales, self.bits)

    def _spread(self, scale: Tensor) -> Tensor:
        """One scale per output, or per input channel where there are segments."""
        if len(self.lengths) > 1:
            scale = scale.repeat_interleave(torch.tensor(self.lengths, device=scale.device), 1)
        return scale.view(*scale.shape, *[1] * (self.weight.ndim - 2))


class ScaleRatios(nn.Module):
    """What a timestep makes of the weight scales: per table entry a vector over those of all layers, start 1.

    Layers whose node says ``per_timestep`` have ratios. Entries are parameters of their own, as in
    :class:`Operands`.
    """

    def __init__(self, layers: Mapping[str, QuantizedLayer], entries: int) -> None:
        super().__init__()
        self.shapes = {
            name: layer.scale.shape
            for name, layer in layers.items()
            if layer.node.attributes.get("per_timestep")
        }
        count = sum(shape.numel() for shape in self.shapes.values())
        self.scales = nn.ParameterList(torch.ones(count) for _ in range(entries if count else 0))

    def at(self, entry: int) -> dict[str, Tensor]:
        """Return the ratios of every layer at ``entry``, in the shape of its scales."""
        if not self.scales:
            return {}
        parts = self.scales[entry].split([shape.numel() for shape in self.shapes.values()])
        return {
            name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


class Student(nn.Module):
    """The trainable fake-quant model.

    Parameters
    ----------
    graph, parameters
        The lowered graph and the float parameters by name.
    formats, weights
        The calibrated start: every table entry is a step of the training trajectory.
    adapters
        Low-rank changes by weight name; weights without one keep their values.
    entries
        Steps of the training trajectory: entries of weight scales per timestep.
    """

    def __init__(
        self,
        graph: Graph,
        parameters: Mapping[str, np.ndarray],
        formats: Mapping[str, Format],
        weights: Mapping[str, WeightCodes],
        adapters: Mapping[str, LowRank],
        entries: int = 1,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.formats = formats
        learned = [node for node in graph if node.op == "quantize" and formats[node.inputs[0]].signed]
        self.stepped = Operands([node for node in learned if node.attributes["per_timestep"]], formats)
        self.static = Operands([node for node in learned if not node.attributes["per_timestep"]], formats)
        self.frozen = {name: torch.from_numpy(parameters[name]) for name in parameters}
        self.layers = nn.ModuleDict()
        self.names: dict[str, str] = {}
        for node in graph:
            if isinstance(OPERATORS[node.op], Multiply) and node.parameters.get("weight") in weights:
                name = node.parameters["weight"]
                layer = QuantizedLayer(node, parameters[name], weights[name], adapters.get(name))
                self.names[name] = name.replace(".", "/")
                self.layers[self.names[name]] = layer
        self.ratios = ScaleRatios({name: self.layer(name) for name in self.names}, entries)
        self.rotations: dict[str, Rotation | None] = {}
        self.floors: dict[str, Tensor] = {}

    def place(self, device: torch.device) -> Student:
        """Move everything to ``device``; call it once, before training."""
        self.to(device)
        self.frozen = {name: value.to(device) for name, value in self.frozen.items()}
        for name in self.names:
            self.layer(name).place(self.frozen[name], device)
        for node in self.graph:
            if node.op == "quantize":
                axis = -1
                if node.attributes.get("hadamard_axis") == "channel":
                    axis = node.integer("channel_axis")
                self.rotations[node.name] = Rotation.of(node, axis, dtype=torch.float32, device=device)
        self.floors = {
            name: value.detach() * SMALLEST_SHARE
            for name, value in self.named_parameters()
            if "scale" in name
        }
        return self

    def layer(self, weight: str) -> QuantizedLayer:
        """Return the layer whose weight has this name."""
        found = self.layers[self.names[weight]]
        assert isinstance(found, QuantizedLayer)
        return found

    def walk(self, inputs: Mapping[str, Tensor], entry: int) -> Iterator[Visit[Tensor]]:
        """Visit every node for one batch at one timestep."""
        ratios = self.ratios.at(entry)
        weights = {name: self.layer(name).quantized(ratios.get(name)) for name in self.names}
        parameters = self.frozen | weights
        operands = self.stepped.at(entry) | self.static.at(entry)

        def quantize(node: Node, x: Tensor) -> Tensor:
            width = self.formats[node.name]
            grid = operands.get(node.name) or Grid(x.new_tensor(width.scale), None, 0.0)
            shares = channel_steps(node, width, x) / 2.0**width.spread
            return fake_quantize(
                x,
                grid.scale * shares if width.exponents else grid.scale,
                (width.even.low - grid.zero, width.even.high - grid.zero),
                count=x[0].numel(),
                zero_point=grid.zero_point,
                rotation=self.rotations[node.name],
            )

        return visits(self.graph, inputs, parameters, quantize)

    @torch.no_grad()
    def keep_scales_positive(self) -> None:
        """Hold every learned scale at or above its floor; call it after an update."""
        for name, value in self.named_parameters():
            if name in self.floors:
                value.clamp_(min=self.floors[name])

    def learned_formats(self, entries: list[int]) -> dict[str, Format]:
        """Return the formats of the learned quantizers at the table entries to keep."""
        return self.stepped.learned(self.formats, entries) | self.static.learned(self.formats, entries)

    def weight_codes(self, entries: list[int]) -> dict[str, WeightCodes]:
        """Return every weight as codes, merged and rounded; scales per timestep at the entries to keep."""
        tables = [self.ratios.at(entry) for entry in entries]
        return {
            name: self.layer(name).codes(
                [table[name] for table in tables] if name in self.ratios.shapes else None
            )
            for name in self.names
        }


def _nearest_code(zero_point: float, operand: Format) -> int:
    """A learned zero-point as an integer of the operand's range."""
    return int(min(max(math.floor(zero_point + 0.5), operand.low), operand.high))


def unit_of(node: Node, formats: Mapping[str, Format]) -> float:
    """The integers' scale of an operand over the learned one, which is the step of its loudest channels."""
    return root_of(node) / (1 << formats[node.name].spread)


def root_of(node: Node) -> float:
    """``sqrt(n)`` of a node's transform, 1 without one: the integers' scale over the learned one."""
    transform = transform_of(node)
    return transform.size**0.5 if transform else 1.0
