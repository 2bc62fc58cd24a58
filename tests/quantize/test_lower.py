"""Lowering: where quantizers stand, which widths and transforms layers get."""

import pytest

from hqsim.errors import UnsupportedError
from hqsim.graph import Graph, Node, TensorType
from hqsim.numerics import Format
from hqsim.ops import OPERATORS, Multiply
from hqsim.quantize import Recipe, load_recipe
from hqsim.quantize.lower import lower, width_formats
from hqsim.quantize.recipe import (
    Activations,
    Attention,
    Carriers,
    Hadamard,
    Weights,
)
from hqsim.quantize.training import Distillation


def _layers(graph):
    return [node for node in graph if isinstance(OPERATORS[node.op], Multiply)]


def _weighted(graph):
    return [node for node in _layers(graph) if node.op != "matmul"]


@pytest.mark.parametrize("recipe", ["hqdm-w4a4", "hqdm-channel-w4a4", "ptq-w8a8"])
def test_every_operand_of_every_product_is_quantized(tiny_model, recipe):
    lowered = lower(tiny_model.graph, load_recipe(recipe))
    for node in _layers(lowered):
        assert [lowered[name].op for name in node.inputs] == ["quantize"] * (2 if node.op == "matmul" else 1)
    for node in lowered:
        if node.op == "quantize":
            (consumer,) = lowered.consumers(node.name)
            assert isinstance(OPERATORS[consumer.op], Multiply)
            assert lowered[node.inputs[0]].op != "quantize"


def test_nothing_is_lost_or_reordered(tiny_model):
    lowered = lower(tiny_model.graph, load_recipe("hqdm-w4a4"))
    added = {"quantize", "rescale"}
    assert [node.name for node in lowered if node.op not in added] == [node.name for node in tiny_model.graph]
    assert [node.name for node in lowered if node.op == "rescale"] == ["sample.carrier"]
    assert lowered.output == tiny_model.graph.output
    assert all(node.type == lowered[node.name].type for node in tiny_model.graph)


def test_only_the_carrier_reads_the_sample(tiny_model):
    """24 bits in the sampler, a carrier everywhere else."""
    lowered = lower(tiny_model.graph, load_recipe("hqdm-w4a4"))
    assert [node.name for node in lowered.consumers("sample")] == ["sample.carrier"]
    assert [node.name for node in lowered.consumers("sample.carrier")] == ["conv_in.operand"]


WIDTH_ORDERS = {"largest_pow2": {32: 5, 16: 4, 8: 3}, "identity": {32: 5, 16: 0, 8: 0}}


@pytest.mark.parametrize("partial", WIDTH_ORDERS)
def test_orders_along_the_width(digits_model, partial):
    """Blocks of 32, 16 and 8 on the three resolutions, or none where 32 does not divide."""
    recipe = Recipe(hadamard=Hadamard(kind="single", axis="width", order=5, partial=partial))
    lowered = lower(digits_model.graph, recipe)
    found = {}
    for node in _weighted(lowered):
        if node.op == "conv2d":
            width = lowered[node.inputs[0]].type.shape[-1]
            found.setdefault(width, set()).add(node.attributes["hadamard_order"])
            assert node.attributes["hadamard_axis"] == "width"
    assert found == {width: {order} for width, order in WIDTH_ORDERS[partial].items()}


CHANNEL_ORDERS = {1: 0, 8: 3, 16: 4, 24: 3, 32: 5}


@pytest.mark.parametrize("axis", ["width", "channel"])
def test_linear_layers_are_transformed_along_channels(tiny_model, axis):
    lowered = lower(tiny_model.graph, Recipe(hadamard=Hadamard(kind="single", axis=axis, order=5)))
    orders = {}
    for node in _weighted(lowered):
        if node.op == "linear":
            channels = lowered[node.inputs[0]].type.shape[-1]
            orders[channels] = node.attributes["hadamard_order"]
            assert node.attributes["hadamard_axis"] == "channel"
    assert orders == {channels: CHANNEL_ORDERS[channels] for channels in (8, 16, 32)}


def test_convolutions_along_channels(tiny_model):
    lowered = lower(tiny_model.graph, Recipe(hadamard=Hadamard(kind="single", axis="channel", order=5)))
    orders = {}
    for node in _weighted(lowered):
        if node.op == "conv2d":
            orders[lowered[node.inputs[0]].type.shape[0]] = node.attributes["hadamard_order"]
    assert orders == CHANNEL_ORDERS


def test_the_order_is_at_most_the_recipes(tiny_model):
    lowered = lower(tiny_model.graph, load_recipe("hqdm-channel-w4a4"))
    assert {node.attributes["hadamard_order"] for node in _weighted(lowered)} == {0, 3}
    transformed = [node for node in _weighted(lowered) if node.attributes["hadamard_order"]]
    assert all(node.attributes["hadamard_signs"] for node in transformed)


def test_quantizer_and_product_agree_on_the_transform(tiny_model):
    lowered = lower(tiny_model.graph, load_recipe("hqdm-w4a4"))
    keys = ("hadamard_axis", "hadamard_order", "hadamard_signs", "channel_axis")
    for node in _weighted(lowered):
        operand = lowered[node.inputs[0]]
        assert [operand.attributes[key] for key in keys] == [node.attributes[key] for key in keys]


def test_no_transform(tiny_model):
    lowered = lower(tiny_model.graph, load_recipe("ptq-w4a4"))
    assert {node.attributes["hadamard_order"] for node in _weighted(lowered)} == {0}


def test_upsampling_comes_before_the_quantizer(tiny_model):
    """Duplicated pairs would make half of the coefficients zero, had they been quantized before."""
    lowered = lower(tiny_model.graph, load_recipe("hqdm-w4a4"))
    (upsample,) = (node for node in lowered if node.op == "upsample_nearest")
    (operand,) = lowered.consumers(upsample.name)
    assert operand.op == "quantize"
    assert operand.type == upsample.type
    assert operand.attributes["hadamard_order"] == 4
    assert [node.name for node in lowered.consumers(operand.name)] == ["up_blocks.0.upsamplers.0.conv"]


@pytest.mark.parametrize(("asked", "found"), [(None, 4), (6, 6)])
def test_operands_of_attention(tiny_model, asked, found):
    """q, k and v have the activations' bits unless stated; probabilities are 8 unsigned bits of [0, 1)."""
    recipe = Recipe(attention=Attention(operand_bits=asked), hadamard=Hadamard(kind="single"))
    lowered = lower(tiny_model.graph, recipe)
    formats = width_formats(lowered, recipe, {})
    products = [node for node in lowered if node.op == "matmul"]
    assert len(products) == 8
    for node in products:
        a, b = node.inputs
        assert (a, b) == (f"{node.name}.operand_a", f"{node.name}.operand_b")
        assert "hadamard_order" not in lowered[a].attributes
        assert (formats[b].bits, formats[b].signed) == (found, True)
        if node.name.endswith("qk"):
            assert (formats[a].bits, formats[a].signed) == (found, True)
        else:
            assert formats[a] == Format(bits=8, scales=(2.0**-8,), signed=False)


def test_widths_of_everything_else(tiny_model):
    recipe = load_recipe("hqdm-w4a4")
    lowered = lower(tiny_model.graph, recipe)
    scales = {node.name: 2.0 ** -(position % 8) for position, node in enumerate(lowered)}
    formats = width_formats(lowered, recipe, scales)
    assert formats.keys() == {node.name for node in lowered}
    assert formats["sample"] == Format(bits=24, scales=(2.0**-20,))
    assert formats["time_proj"] == Format(bits=16, scales=(2.0**-15,))
    for node in lowered:
        found = formats[node.name]
        if node.op == "quantize":
            assert found.bits == (8 if node.name.startswith("conv_") or not found.signed else 4)
        elif node.op == "softmax":
            assert found == Format(bits=16, scales=(2.0**-16,), signed=False)
        elif node.op != "input":
            assert (found.bits, found.signed) == (16, True)
        if node.op in ("reshape", "permute", "upsample_nearest"):
            assert found == formats[node.inputs[0]]
        if node.op == "concat":
            assert found.scale == max(formats[name].scale for name in node.inputs)
        if node.op in ("conv2d", "linear", "group_norm", "add", "silu"):
            assert found.scale == scales[node.name]


def test_carriers_of_12_bits(tiny_model):
    recipe = Recipe(carriers=Carriers(bits=12))
    lowered = lower(tiny_model.graph, recipe)
    formats = width_formats(lowered, recipe, {})
    assert {formats[node.name].bits for node in lowered if node.op in ("conv2d", "add", "rescale")} == {12}


def test_operands_with_zero_points(tiny_model):
    """Unsigned but for probabilities, which have none; in the middle until calibration knows better."""
    recipe = Recipe(activations=Activations(bits=5, symmetric=False))
    lowered = lower(tiny_model.graph, recipe)
    formats = width_formats(lowered, recipe, {})
    for node in lowered:
        if node.op == "quantize":
            is_probability = lowered[node.inputs[0]].op == "softmax"
            found = formats[node.name]
            assert (found.bits, found.signed) == (8 if is_probability else 5, False)
            assert found.zero_points == ((0,) if is_probability else (16,))


def test_operands_with_exponents(tiny_model):
    """Before calibration every channel may have the largest one; attention has none."""
    recipe = Recipe(activations=Activations(bits=4, exponents=2))
    lowered = lower(tiny_model.graph, recipe)
    formats = width_formats(lowered, recipe, {})
    for node in lowered:
        if node.op == "quantize":
            expected = () if lowered.consumers(node.name)[0].op == "matmul" else (2,)
            assert formats[node.name].exponents == expected
    found = formats["conv_in.operand"]
    assert (found.bits, found.low, found.high, found.dtype) == (4, -32, 28, "int8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activations": Activations(exponents=1, symmetric=False)}, "its codes have a zero-point"),
        (
            {"activations": Activations(exponents=1), "hadamard": Hadamard(kind="single", axis="width")},
            "its transform runs along the width",
        ),
        ({"activations": Activations(exponents=1, bits=16)}, "its codes have 16 bits"),
    ],
)
def test_where_exponents_do_not_exist(tiny_model, changes, message):
    with pytest.raises(UnsupportedError, match=rf"\w+: exponents: got 1, allowed 0, because {message}"):
        lower(tiny_model.graph, Recipe(**changes).model_copy(update={"layers": ()}))


def test_a_split_shortcut_has_a_quantizer_per_side(tiny_model):
    """Only the 1x1 shortcuts read the concatenation itself; the norm still reads it whole."""
    plain = lower(tiny_model.graph, Recipe())
    split = lower(tiny_model.graph, Recipe(activations=Activations(split_shortcut=True)))
    shortcuts = [node for node in _weighted(split) if len(node.inputs) == 2]
    assert [node.name for node in shortcuts] == [
        node.name for node in _weighted(plain) if plain[plain[node.inputs[0]].inputs[0]].op == "concat"
    ]
    assert len(shortcuts) == 4
    for node in shortcuts:
        assert node.inputs == (f"{node.name}.operand_0", f"{node.name}.operand_1")
        sides = [split[split[name].inputs[0]] for name in node.inputs]
        (concat,) = (other for other in split if other.inputs == tuple(side.name for side in sides))
        assert concat.op == "concat"
        assert node.attributes["sides"] == tuple(side.type.shape[0] for side in sides)
        assert sum(node.attributes["sides"]) == concat.type.shape[0]


def test_sides_of_a_split_shortcut_share_an_order(tiny_model):
    """Sides of 16 and 8 channels: blocks of 8, though 16 alone would take more."""
    recipe = Recipe(
        activations=Activations(split_shortcut=True),
        hadamard=Hadamard(kind="single", axis="channel", order=4),
    )
    lowered = lower(tiny_model.graph, recipe)
    orders = {
        node.attributes["sides"]: node.attributes["hadamard_order"]
        for node in _weighted(lowered)
        if len(node.inputs) == 2
    }
    assert orders == {(16, 16): 4, (16, 8): 3, (8, 8): 3}


def test_where_a_fold_exists(tiny_model):
    """Along channels, where no group of weights cuts a block."""

    def realisations(**options):
        hadamard = Hadamard(kind="single", order=3, realisation="fold", axis=options.pop("axis"))
        lowered = lower(tiny_model.graph, Recipe(hadamard=hadamard, **options))
        found = {}
        for node in _weighted(lowered):
            if node.attributes["hadamard_order"]:
                found.setdefault(node.op, set()).add(node.attributes["hadamard_realisation"])
        return found

    assert realisations(axis="channel") == {"conv2d": {"fold"}, "linear": {"fold"}}
    assert realisations(axis="width") == {"conv2d": {"runtime"}, "linear": {"fold"}}
    assert realisations(axis="channel", weights=Weights(group_size=8))["linear"] == {"fold"}
    assert realisations(axis="channel", weights=Weights(group_size=4))["linear"] == {"runtime"}


@pytest.mark.parametrize(("axis", "convolutions"), [("none", {0}), ("channel", {0, 3, 4})])
def test_double(tiny_model, axis, convolutions):
    recipe = Recipe(hadamard=Hadamard(kind="double", axis=axis, order=4))
    lowered = lower(tiny_model.graph, recipe)
    orders = {"conv2d": set(), "linear": set()}
    for node in _weighted(lowered):
        orders[node.op].add(node.attributes["hadamard_order"])
        assert node.attributes["hadamard_kind"] == "double"
    assert orders == {"conv2d": convolutions, "linear": {3, 4}}


def test_weight_scales_per_timestep_are_said_of_every_layer_with_weights(tiny_model):
    stepped = lower(tiny_model.graph, Recipe(training=Distillation(weight_scales="per_timestep")))
    assert all(node.attributes["per_timestep"] for node in _weighted(stepped))
    for recipe in (Recipe(), Recipe(training=Distillation())):
        assert not any("per_timestep" in node.attributes for node in _layers(lower(tiny_model.graph, recipe)))


def test_weight_codes_per_timestep_are_refused(tiny_model):
    training = Distillation(weight_scales="per_timestep", weight_storage="codes_per_step")
    with pytest.raises(
        UnsupportedError, match=r"^recipe 'custom': training\.weight_storage: got 'codes_per_step'"
    ):
        lower(tiny_model.graph, Recipe(training=training))


def test_a_concatenation_that_nobody_reads_any_more_goes():
    def conv(name, source, outputs):
        attributes = {"kernel": (outputs, 1, 1), "stride": 1, "padding": (0, 0, 0, 0), "groups": 1}
        weights = {"weight": f"{name}.weight"}
        return Node(name, "conv2d", (source,), TensorType((outputs, 4, 4)), attributes, weights)

    nodes = (
        Node("sample", "input", (), TensorType((2, 4, 4))),
        conv("left", "sample", 8),
        conv("right", "sample", 4),
        Node("both", "concat", ("left", "right"), TensorType((12, 4, 4)), {"axis": 1}),
        conv("out", "both", 2),
    )
    for split in (False, True):
        lowered = lower(Graph(nodes, "out"), Recipe(activations=Activations(split_shortcut=split)))
        assert ("both" in lowered) == (not split)
        assert len(lowered["out"].inputs) == 1 + split
