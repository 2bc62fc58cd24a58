"""Rules for some layers: whom they match, what they change."""

import re

import pytest

from hqsim.errors import InputError
from hqsim.graph import Graph, Node, TensorType
from hqsim.ops import OPERATORS, Multiply
from hqsim.quantize import Recipe, load_recipe
from hqsim.quantize.lower import lower
from hqsim.quantize.recipe import AccumulatorModel, Activations, Hadamard, LayerRule, Weights


def _weighted(graph):
    return [node for node in graph if isinstance(OPERATORS[node.op], Multiply) and node.op != "matmul"]


def _bits(lowered):
    return {
        node.name: (node.attributes["weight_bits"], lowered[node.inputs[0]].attributes["bits"])
        for node in _weighted(lowered)
    }


def test_first_and_last_layer(tiny_model):
    bits = _bits(lower(tiny_model.graph, load_recipe("hqdm-w3a5")))
    assert {name for name, found in bits.items() if found == (8, 8)} == {"conv_in", "conv_out"}
    assert {found for name, found in bits.items() if name not in ("conv_in", "conv_out")} == {(3, 5)}


def test_first_and_last_layer_behind_scales_offsets_and_views():
    """As in a model that centres its sample and cuts its output; a sum of two is not looked through."""

    def conv(name, source):
        attributes = {"kernel": (2, 1, 1), "stride": 1, "padding": (0, 0, 0, 0), "groups": 1}
        return Node(name, "conv2d", (source,), type_, attributes, {"weight": f"{name}.weight"})

    type_ = TensorType((2, 4, 4))
    nodes = (
        Node("sample", "input", (), type_),
        Node("doubled", "scale", ("sample",), type_, {"factor": 2.0}),
        Node("centred", "offset", ("doubled",), type_, {"offset": -1.0}),
        conv("inner", "centred"),
        conv("second", "inner"),
        conv("outer", "second"),
        Node("sum", "add", ("outer", "inner"), type_),
        conv("third", "sum"),
        Node("noise", "slice", ("third",), TensorType((1, 4, 4)), {"axis": 1, "start": 0, "stop": 1}),
    )
    bits = _bits(lower(Graph(nodes, "noise"), load_recipe("hqdm-w3a5")))
    assert {name for name, found in bits.items() if found == (8, 8)} == {"inner", "third"}


def test_the_time_embedding_of_every_block_of_a_transformer(tiny_dit):
    """All blocks read one sinusoid; what follows the sum with the class is no embedding of the time."""
    bits = _bits(
        lower(tiny_dit.graph, _with_rules(LayerRule(match="@time", weight_bits=8, activation_bits=8)))
    )
    found = {name for name, widths in bits.items() if widths == (8, 8)}
    layers = {name for name in bits if ".timestep_embedder.linear_" in name}
    assert found == layers
    assert len(layers) == 2 * len(
        {name.split(".")[1] for name in bits if name.startswith("transformer_blocks.")}
    )


def _with_rules(*rules):
    return Recipe(weights=Weights(bits=4), activations=Activations(bits=4), layers=rules)


def test_later_rules_win_and_leave_alone_what_they_do_not_name(tiny_model):
    recipe = _with_rules(
        LayerRule(match="*", weight_bits=5),
        LayerRule(match="mid_block.*", weight_bits=6, activation_bits=7),
        LayerRule(match="*.conv1", activation_bits=3),
    )
    bits = _bits(lower(tiny_model.graph, recipe))
    assert bits["conv_in"] == (5, 4)
    assert bits["mid_block.resnets.0.conv2"] == (6, 7)
    assert bits["mid_block.resnets.0.conv1"] == (6, 3)
    assert bits["down_blocks.0.resnets.0.conv1"] == (5, 3)
    turned = _bits(lower(tiny_model.graph, _with_rules(*reversed(recipe.layers))))
    assert turned["mid_block.resnets.0.conv1"] == (5, 7)


def test_a_rule_may_change_the_transform(tiny_model):
    recipe = Recipe(
        hadamard=Hadamard(kind="single", axis="width", order=5),
        layers=(
            LayerRule(match="conv_out", hadamard=Hadamard(kind="none")),
            LayerRule(match="*.conv2", hadamard=Hadamard(kind="single", axis="channel", order=2, signs=True)),
        ),
    )
    lowered = lower(tiny_model.graph, recipe)
    assert lowered["conv_out"].attributes["hadamard_order"] == 0
    changed = lowered["mid_block.resnets.0.conv2"].attributes
    assert (changed["hadamard_axis"], changed["hadamard_order"], changed["hadamard_signs"]) == (
        "channel",
        2,
        True,
    )
    assert lowered["mid_block.resnets.0.conv1"].attributes["hadamard_axis"] == "width"


def test_a_rule_for_the_layers_that_read_an_activation(tiny_model):
    lowered = lower(tiny_model.graph, _with_rules(LayerRule(match="@activation", symmetric=False)))
    layers = {node.name: lowered[node.inputs[0]].attributes["symmetric"] for node in _weighted(lowered)}
    after = [name for name, symmetric in layers.items() if not symmetric]
    wanted = [
        name
        for name in layers
        if name in ("conv_out", "time_embedding.linear_2")
        or name.endswith(("conv1", "conv2", "time_emb_proj"))
    ]
    assert 0 < len(after) < len(layers)
    assert after == wanted


@pytest.mark.parametrize("match", ["middle.*", "conv_inn", "*.qk"])
def test_a_rule_that_matches_nothing(tiny_model, match):
    message = (
        f"recipe 'custom': layers[1].match: '{match}' matches no layer; layers are named like "
        "'time_embedding.linear_1', wildcards are * ? [], '@first', '@last', '@time', '@activation' are "
        "allowed"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        lower(tiny_model.graph, _with_rules(LayerRule(match="@first"), LayerRule(match=match)))


def test_a_rule_may_change_every_option(tiny_model):
    rule = LayerRule(
        match="mid_block.resnets.0.conv1",
        group_size=8,
        symmetric=False,
        per_timestep=False,
        accumulator=AccumulatorModel(bits=20, overflow="saturate"),
    )
    lowered = lower(tiny_model.graph, _with_rules(rule))
    for node in _weighted(lowered):
        changed = node.name == rule.match
        operand = lowered[node.inputs[0]].attributes
        assert (operand["symmetric"], operand["per_timestep"]) == (not changed, not changed)
        assert node.attributes["group_size"] == (8 if changed else None)
        accumulator = (node.attributes["accumulator_bits"], node.attributes["accumulator_overflow"])
        assert accumulator == ((20, "saturate") if changed else (None, "wrap"))
