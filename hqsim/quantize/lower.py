"""Lowering: the float graph becomes the graph that the integers run.

Every matrix product gets a quantizer in front of each activation operand; the sample, 24 bits in the sampler,
becomes a carrier first. Widths and transforms are resolved here, scales later: so the cost model reads a
lowered graph without weights.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from hqsim.errors import InputError, UnsupportedError
from hqsim.graph import Graph, Node, TensorType
from hqsim.graph.graph import Attribute
from hqsim.numerics import Format, block_order
from hqsim.ops import OPERATORS, Multiply
from hqsim.ops.gate import Gate
from hqsim.ops.realisation import can_fold, realised
from hqsim.ops.sums import groups_of
from hqsim.quantize.recipe import AccumulatorModel, Hadamard, Recipe
from hqsim.quantize.training import Distillation

SAMPLE_BITS = 24
SAMPLE_SCALE = 2.0**-20
SAMPLE_CARRIER = "sample.carrier"
WIDEST_WITH_EXPONENTS = 8


@dataclass(frozen=True)
class LayerPlan:
    """Resolved choices of one layer with weights."""

    weight_bits: int
    group_size: int | None
    activation_bits: int
    symmetric: bool
    per_timestep: bool
    split_shortcut: bool
    exponents: int
    hadamard: Hadamard
    accumulator: AccumulatorModel
    lora: bool


def lower(graph: Graph, recipe: Recipe) -> Graph:
    """Return the lowered graph of ``graph`` under ``recipe``.

    Raises
    ------
    InputError
        When a layer rule matches no layer.
    UnsupportedError
        When the recipe is one for transformers and the graph is none, or asks for weight codes per timestep.
    """
    if recipe.network == "transformer":
        _refuse_convolutions(graph, recipe)
    stepped = _steps_weight_scales(recipe)
    plans = layer_plans(graph, recipe)
    nodes: list[Node] = []
    for node in graph:
        if node.op == "input" and node.name == "sample":
            carrier = Node(SAMPLE_CARRIER, "rescale", (node.name,), node.type, module=node.module)
            nodes += [node, carrier]
            continue
        if "sample" in node.inputs:
            inputs = tuple(SAMPLE_CARRIER if name == "sample" else name for name in node.inputs)
            node = replace(node, inputs=inputs)
        if node.op == "matmul":
            nodes += _lower_attention(node, graph, recipe)
        elif isinstance(OPERATORS[node.op], Multiply):
            nodes += _lower_layer(node, graph, plans[node.name], stepped)
        else:
            nodes.append(node)
    read = {name for node in nodes for name in node.inputs} | {graph.output}
    kept = [node for node in nodes if node.op != "concat" or node.name in read]
    return Graph(nodes=tuple(kept), output=graph.output)


def width_formats(lowered: Graph, recipe: Recipe, carrier_scales: Mapping[str, float]) -> dict[str, Format]:
    """Return the format of every node: widths by the operators' rules, carriers with the given scales.

    Nodes without a given scale get 1.0 (enough for the cost model, which reads widths only).
    """
    formats: dict[str, Format] = {}
    unscaled = Format(bits=recipe.carriers.bits, scales=(1.0,))
    for node in lowered:
        name, op = node.name, node.op
        if op == "input":
            bits, scale = (SAMPLE_BITS, SAMPLE_SCALE) if name == "sample" else (16, 1.0)
            formats[name] = Format(bits=bits, scales=(scale,))
        elif op == "quantize":
            formats[name] = _operand_format(node, formats[node.inputs[0]])
        else:
            inputs = [formats[each] for each in node.inputs]
            known = carrier_scales.get(name)
            carrier = unscaled if known is None else replace(unscaled, scales=(known,))
            formats[name] = OPERATORS[op].output_format(node, inputs, carrier)
    return formats


def _operand_format(node: Node, source: Format) -> Format:
    """The width of an operand; its scales and zero-points follow from calibration.

    Zero-points stand in the middle until then. Probabilities, unsigned already, keep their range [0, 1).
    """
    bits = node.integer("bits")
    if not source.signed:
        return Format(bits=bits, scales=(source.scale * 2.0 ** (source.bits - bits),), signed=False)
    if node.attributes["symmetric"]:
        exponents = (node.integer("exponents"),) if "exponents" in node.attributes else ()
        return Format(bits=bits, scales=(1.0,), exponents=exponents)
    return Format(bits=bits, scales=(1.0,), signed=False, zero_points=(1 << (bits - 1),))


def _refuse_convolutions(graph: Graph, recipe: Recipe) -> None:
    """A diffusion transformer convolves once: its patch embedding reads the sample."""
    convolutions = [node for node in graph if node.op == "conv2d"]
    others = [node.name for node in convolutions if _origin(graph, node.inputs[0]) != "sample"]
    if others:
        raise UnsupportedError(
            f"recipe '{recipe.name}': network: 'transformer' allows one convolution, the patch embedding, "
            f"but the model has {len(others)} more, first '{others[0]}': the method is stated for linear "
            "layers alone; use a recipe for any network, like 'ptq-w8a8'"
        )


def _steps_weight_scales(recipe: Recipe) -> bool:
    """Whether training gives the weights scales per timestep."""
    training = recipe.training
    if not isinstance(training, Distillation) or training.weight_scales == "static":
        return False
    if training.weight_storage == "codes_per_step":
        raise UnsupportedError(
            f"recipe '{recipe.name}': training.weight_storage: got 'codes_per_step', but the integer engine "
            "and the cost model know one set of weight codes per layer; use 'scale_only' (what codes per "
            "step would store: python -m hqsim.train.budget MODEL)"
        )
    return True


def layer_plans(graph: Graph, recipe: Recipe) -> dict[str, LayerPlan]:
    """Resolve the recipe's defaults and ordered rules for every layer with weights.

    Raises
    ------
    InputError
        When a layer rule matches no layer.
    """
    layers = [node for node in graph if isinstance(OPERATORS[node.op], Multiply) and node.op != "matmul"]
    last = _origin(graph, graph.output)
    special = {
        "@first": [node.name for node in layers if _origin(graph, node.inputs[0]) == "sample"],
        "@last": [node.name for node in layers if node.name == last] or [layers[-1].name],
        "@time": _time_embedding(graph),
        "@activation": [
            node.name for node in layers if isinstance(OPERATORS.get(graph[node.inputs[0]].op), Gate)
        ],
    }
    default = LayerPlan(
        weight_bits=recipe.weights.bits,
        group_size=recipe.weights.group_size,
        activation_bits=recipe.activations.bits,
        symmetric=recipe.activations.symmetric,
        per_timestep=recipe.activations.per_timestep,
        split_shortcut=recipe.activations.split_shortcut,
        exponents=recipe.activations.exponents,
        hadamard=recipe.hadamard,
        accumulator=recipe.accumulator,
        lora=True,
    )
    plans = {node.name: default for node in layers}
    for position, rule in enumerate(recipe.layers):
        matched = special.get(rule.match) or fnmatch.filter(plans, rule.match)
        if not matched:
            raise InputError(
                f"recipe '{recipe.name}': layers[{position}].match: '{rule.match}' matches no layer; layers "
                f"are named like '{layers[0].name}', wildcards are * ? [], "
                f"{', '.join(map(repr, special))} are allowed"
            )
        asked = {field: getattr(rule, field) for field in LayerPlan.__dataclass_fields__}
        given = {field: choice for field, choice in asked.items() if choice is not None}
        plans |= {name: replace(plans[name], **given) for name in matched}
    return plans


def _origin(graph: Graph, name: str) -> str:
    """The layer or input that ``name`` comes from, through nodes of one input: scales, offsets, views."""
    while len(graph[name].inputs) == 1 and not isinstance(OPERATORS[graph[name].op], Multiply):
        name = graph[name].inputs[0]
    return name


def _time_embedding(graph: Graph) -> list[str]:
    """The layers behind a sinusoid, up to a node that has another input or several readers.

    A transformer's blocks have an embedding each, all of the same sinusoid.
    """
    sinusoids = [node.name for node in graph if node.op == "timestep_embedding"]
    ends = [reader for name in sinusoids for reader in graph.consumers(name)]
    found = []
    while ends:
        embedded = [node for node in ends if len(node.inputs) == 1]
        found += [node.name for node in embedded if isinstance(OPERATORS[node.op], Multiply)]
        behind = [graph.consumers(node.name) for node in embedded]
        ends = [readers[0] for readers in behind if len(readers) == 1]
    return found


def _lower_layer(node: Node, graph: Graph, plan: LayerPlan, stepped: bool) -> list[Node]:
    """One quantizer per input (per side of a split shortcut), the inverse inside the layer.

    ``stepped`` layers have weight scales per timestep, and say so.
    """
    channel_axis = 1 if node.op == "conv2d" else len(_type(graph, node.inputs[0]).shape)
    sides = _sides(node, graph, channel_axis) if plan.split_shortcut else node.inputs
    types = [_type(graph, name) for name in sides]
    depths = [type_.shape[channel_axis - 1] // groups_of(node) for type_ in types]
    transform = _transform(node, plan, depths, types[0].shape[-1]) | {"channel_axis": channel_axis}
    if plan.exponents:
        _check_exponents(node, plan, transform)
    operands = [
        Node(
            name=f"{node.name}.operand" if len(sides) == 1 else f"{node.name}.operand_{index}",
            op="quantize",
            inputs=(name,),
            type=type_,
            attributes=MappingProxyType(
                {
                    "bits": plan.activation_bits,
                    "symmetric": plan.symmetric,
                    "per_timestep": plan.per_timestep,
                    **({"exponents": plan.exponents} if plan.exponents else {}),
                    **transform,
                }
            ),
            module=node.module,
        )
        for index, (name, type_) in enumerate(zip(sides, types, strict=True))
    ]
    attributes = {
        **node.attributes,
        "weight_bits": plan.weight_bits,
        "group_size": plan.group_size,
        "sides": tuple(depths),
        **transform,
        **_accumulator(plan.accumulator),
        **({"per_timestep": True} if stepped else {}),
        "hadamard_realisation": plan.hadamard.realisation,
    }
    names = tuple([operand.name for operand in operands])
    product = replace(node, inputs=names, attributes=MappingProxyType(attributes))
    if plan.hadamard.realisation == "fold" and not can_fold(product):
        product = realised(product, "runtime")
    return [*operands, product]


def _check_exponents(node: Node, plan: LayerPlan, transform: Mapping[str, Attribute]) -> None:
    """Refuse exponents for zero-points, for codes wider than 8 bits, and where a transform mixes a row."""
    along_width = transform["hadamard_order"] and transform["hadamard_axis"] == "width"
    causes = {
        "its codes have a zero-point": not plan.symmetric,
        "its transform runs along the width": along_width,
        f"its codes have {plan.activation_bits} bits": plan.activation_bits > WIDEST_WITH_EXPONENTS,
    }
    for cause, holds in causes.items():
        if holds:
            raise UnsupportedError(
                f"{node.name}: exponents: got {plan.exponents}, allowed 0, because {cause}; add a layer rule "
                "with 'exponents: 0', or give it symmetric codes of at most "
                f"{WIDEST_WITH_EXPONENTS} bits with the transform along 'channel' or none"
            )


def _type(graph: Graph, name: str) -> TensorType:
    return graph["sample" if name == SAMPLE_CARRIER else name].type


def _sides(node: Node, graph: Graph, channel_axis: int) -> tuple[str, ...]:
    """The inputs of the concatenation along channels that a layer reads, else its own input."""
    name = node.inputs[0]
    source = graph["sample" if name == SAMPLE_CARRIER else name]
    if source.op != "concat" or source.attributes["axis"] != channel_axis or groups_of(node) > 1:
        return node.inputs
    return tuple(SAMPLE_CARRIER if side == "sample" else side for side in source.inputs)


def _transform(node: Node, plan: LayerPlan, depths: list[int], width: int) -> dict[str, Attribute]:
    """The transform of a layer: one order that all its sides (and groups of channels) allow."""
    hadamard = plan.hadamard
    axis = hadamard.axis if node.op == "conv2d" else "channel"
    order = 0
    if hadamard.kind != "none" and axis != "none":
        length = width if axis == "width" else math.gcd(*depths)
        order = block_order(length, hadamard.order, hadamard.partial)
    return {
        "hadamard_kind": hadamard.kind,
        "hadamard_axis": axis,
        "hadamard_order": order,
        "hadamard_signs": hadamard.signs,
    }


def _accumulator(accumulator: AccumulatorModel) -> dict[str, Attribute]:
    return {"accumulator_bits": accumulator.bits, "accumulator_overflow": accumulator.overflow}


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
                        "symmetric": recipe.activations.symmetric,
                        "per_timestep": recipe.activations.per_timestep,
                        "channel_axis": len(graph[name].type.shape),
                    }
                ),
                module=node.module,
            )
        )
    attributes = MappingProxyType({**node.attributes, **_accumulator(recipe.accumulator)})
    names = tuple(operand.name for operand in operands)
    return [*operands, replace(node, inputs=names, attributes=attributes)]
