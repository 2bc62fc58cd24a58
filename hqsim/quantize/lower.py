"""Lowering: the float graph becomes the graph that the integers run.

Every matrix product gets a quantizer in front of each activation operand; the sample, 24 bits in the sampler,
becomes a carrier first. Widths and transforms are resolved here, scales later: so the cost model reads a
lowered graph without weights.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from hqsim.errors import InputError
from hqsim.graph import Graph, Node
from hqsim.numerics import Format, block_order
from hqsim.ops import OPERATORS, Multiply
from hqsim.quantize.recipe import Hadamard, Recipe

SAMPLE_BITS = 24
SAMPLE_SCALE = 2.0**-20
SAMPLE_CARRIER = "sample.carrier"


@dataclass(frozen=True)
class LayerPlan:
    """Resolved choices of one layer with weights."""

    weight_bits: int
    activation_bits: int
    hadamard: Hadamard


def lower(graph: Graph, recipe: Recipe) -> Graph:
    """Return the lowered graph of ``graph`` under ``recipe``.

    Raises
    ------
    InputError
        When a layer rule matches no layer.
    """
    plans = _plans(graph, recipe)
    nodes: list[Node] = []
    for node in graph:
        if node.op == "input" and node.name == "sample":
            carrier = Node(SAMPLE_CARRIER, "rescale", (node.name,), node.type, module=node.module)
            nodes += [node, carrier]
            continue
        inputs = tuple(SAMPLE_CARRIER if name == "sample" else name for name in node.inputs)
        node = replace(node, inputs=inputs)
        if node.op == "matmul":
            nodes += _lower_attention(node, graph, recipe)
        elif isinstance(OPERATORS[node.op], Multiply):
            nodes += _lower_layer(node, graph, plans[node.name])
        else:
            nodes.append(node)
    return Graph(nodes=tuple(nodes), output=graph.output)


def width_formats(lowered: Graph, recipe: Recipe, carrier_scales: Mapping[str, float]) -> dict[str, Format]:
    """Return the format of every node: widths by the operators' rules, carriers with the given scales.

    Nodes without a given scale get 1.0 (enough for the cost model, which reads widths only).
    """
    formats: dict[str, Format] = {}
    for node in lowered:
        if node.op == "input":
            is_sample = node.name == "sample"
            bits, scale = (SAMPLE_BITS, SAMPLE_SCALE) if is_sample else (16, 1.0)
            formats[node.name] = Format(bits=bits, scales=(scale,))
            continue
        inputs = tuple(formats[name] for name in node.inputs)
        if node.op == "quantize":
            formats[node.name] = _operand_format(node, inputs[0])
            continue
        carrier = Format(bits=recipe.carriers.bits, scales=(carrier_scales.get(node.name, 1.0),))
        formats[node.name] = OPERATORS[node.op].output_format(node, inputs, carrier)
    return formats


def _operand_format(node: Node, source: Format) -> Format:
    """Signed operands follow calibration; unsigned probabilities keep the range [0, 1)."""
    bits = node.integer("bits")
    if source.signed:
        return Format(bits=bits, scales=(1.0,))
    return Format(bits=bits, scales=(source.scale * 2.0 ** (source.bits - bits),), signed=False)


def _plans(graph: Graph, recipe: Recipe) -> dict[str, LayerPlan]:
    """Resolve the recipe's defaults and ordered rules for every layer with weights."""
    layers = [node for node in graph if isinstance(OPERATORS[node.op], Multiply) and node.op != "matmul"]
    special = {
        "@first": [node.name for node in layers if "sample" in node.inputs],
        "@last": [node.name for node in layers if node.name == graph.output] or [layers[-1].name],
    }
    plans = {
        node.name: LayerPlan(recipe.weights.bits, recipe.activations.bits, recipe.hadamard) for node in layers
    }
    for position, rule in enumerate(recipe.layers):
        matched = special.get(rule.match) or fnmatch.filter(plans, rule.match)
        if not matched:
            raise InputError(
                f"recipe '{recipe.name}': layers[{position}].match: '{rule.match}' matches no layer; layers "
                f"are named like '{layers[0].name}', wildcards are * ? [], '@first' and '@last' are allowed"
            )
        for name in matched:
            plan = plans[name]
            plans[name] = LayerPlan(
                rule.weight_bits or plan.weight_bits,
                rule.activation_bits or plan.activation_bits,
                rule.hadamard or plan.hadamard,
            )
    return plans


def _lower_layer(node: Node, graph: Graph, plan: LayerPlan) -> list[Node]:
    """One quantizer in front of a convolution or linear layer, the inverse inside the layer."""
    source = graph["sample" if node.inputs[0] == SAMPLE_CARRIER else node.inputs[0]].type
    channel_axis = 1 if node.op == "conv2d" else len(source.shape)
    axis = plan.hadamard.axis if node.op == "conv2d" else "channel"
    length = source.shape[channel_axis - 1] if axis == "channel" else source.shape[-1]
    order = 0
    if plan.hadamard.kind == "single":
        order = block_order(length, plan.hadamard.order, plan.hadamard.partial)
    transform = {
        "channel_axis": channel_axis,
        "hadamard_axis": axis,
        "hadamard_order": order,
        "hadamard_signs": plan.hadamard.signs,
    }
    operand = Node(
        name=f"{node.name}.operand",
        op="quantize",
        inputs=node.inputs,
        type=source,
        attributes=MappingProxyType({"bits": plan.activation_bits, **transform}),
        module=node.module,
    )
    attributes = MappingProxyType({**node.attributes, "weight_bits": plan.weight_bits, **transform})
    return [operand, replace(node, inputs=(operand.name,), attributes=attributes)]


def _lower_attention(node: Node, graph: Graph, recipe: Recipe) -> list[Node]:
    """A quantizer per side of an attention product, without a transform."""
    operands = []
    for side, name in zip("ab", node.inputs, strict=True):
        is_probability = graph[name].op == "softmax"
        bits = recipe.attention.operand_bits or recipe.activations.bits
        operands.append(
            Node(
                name=f"{node.name}.operand_{side}",
                op="quantize",
                inputs=(name,),
                type=graph[name].type,
                attributes=MappingProxyType(
                    {
                        "bits": recipe.attention.probability_bits if is_probability else bits,
                        "channel_axis": len(graph[name].type.shape),
                    }
                ),
                module=node.module,
            )
        )
    return [*operands, replace(node, inputs=tuple(operand.name for operand in operands))]
