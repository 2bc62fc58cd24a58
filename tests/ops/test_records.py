"""Layer records of a convolution under every option, counted by hand.

32 channels of 8 x 16 pixels, 16 outputs, a 3 x 3 kernel with padding 1: 128 pixels, 288 products each.
"""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hqsim.graph import Graph, LayerRecord, Node, TensorType
from hqsim.models.captured import shipped
from hqsim.ops.records import layer_records, macs_by_layer
from hqsim.quantize import Recipe
from hqsim.quantize.lower import lower, width_formats
from hqsim.quantize.recipe import AccumulatorModel, Activations, Hadamard, LayerRule, Weights
from hqsim.quantize.training import Distillation

PIXELS, OUTPUTS, TERMS = 8 * 16, 16, 32 * 9
CHANNEL = {"kind": "single", "axis": "channel", "order": 3}


def records(recipe: Recipe, groups: int = 1) -> tuple[LayerRecord, LayerRecord]:
    """The records of the quantizer and of the convolution behind it."""
    sample = Node("sample", "input", (), TensorType((32, 8, 16)))
    conv = Node(
        "conv",
        "conv2d",
        ("sample",),
        TensorType((OUTPUTS, 8, 16)),
        {"kernel": (OUTPUTS, 3, 3), "stride": 1, "padding": (1, 1, 1, 1), "groups": groups},
        {"weight": "w", "bias": "b"},
    )
    lowered = lower(Graph((sample, conv), "conv"), recipe)
    formats = width_formats(lowered, recipe, {})
    found = layer_records(lowered, formats, images=1, guided=False, table_steps=10)
    by_name = {record.name: record for record in found}
    return by_name["conv.operand"], by_name["conv"]


def test_plain() -> None:
    operand, conv = records(Recipe())
    assert (operand.hadamard, conv.hadamard) == ((), ())
    work = conv.matrix
    assert (work.m, work.n, work.k, work.count, work.segments) == (PIXELS, OUTPUTS, TERMS, 1, 1)
    assert (work.a_storage_bits, work.a_multiplier_bits) == (4, 4)
    assert (work.w_storage_bits, work.w_multiplier_bits) == (4, 4)
    assert work.accumulator_bits == (8 * 7 * TERMS).bit_length() + 1
    assert conv.weights.size_bytes == OUTPUTS * TERMS / 2
    assert conv.vector == {"requantize": PIXELS * OUTPUTS}
    assert conv.table_bytes == (2 + 1 + 4) * OUTPUTS
    assert conv.table_bytes_all_steps == (10 * 3 + 4) * OUTPUTS
    assert (operand.table_bytes, operand.table_bytes_all_steps) == (3, 30)


def test_records_go_to_other_processes() -> None:
    both = records(Recipe(hadamard=Hadamard(**CHANNEL)))
    assert both[1].variants
    assert pickle.loads(pickle.dumps(both)) == both


def test_weight_scales_per_timestep_need_a_factor_per_step() -> None:
    """16 factors of 3 bytes a step, also where the operand's one scale stays; the codes are stored once."""
    static = Activations(per_timestep=False)
    operand, conv = records(Recipe(activations=static))
    assert (operand.table_bytes_all_steps, conv.table_bytes_all_steps) == (3, (3 + 4) * OUTPUTS)
    training = Distillation(weight_scales="per_timestep")
    operand, stepped = records(Recipe(activations=static, training=training))
    assert (operand.table_bytes_all_steps, stepped.table_bytes_all_steps) == (3, (10 * 3 + 4) * OUTPUTS)
    assert stepped.table_bytes == conv.table_bytes
    assert stepped.weights == conv.weights
    assert records(Recipe(training=training))[1].table_bytes_all_steps == (10 * 3 + 4) * OUTPUTS


def test_exponents_widen_the_multiplier_and_not_the_memory() -> None:
    """One bit each for 32 channels, the same at every timestep; [-8, 7] times 2, eight of them: 8 bits."""
    operand, conv = records(Recipe(activations=Activations(exponents=1), hadamard=Hadamard(**CHANNEL)))
    assert (operand.table_bytes, operand.table_bytes_all_steps) == (3 + 32 / 8, 30 + 32 / 8)
    assert (conv.matrix.a_storage_bits, conv.matrix.a_multiplier_bits) == (4, 8)
    assert conv.matrix.accumulator_bits == (2 * 64 * 7 * TERMS).bit_length() + 1
    assert conv.variants["fold"].matrix.a_multiplier_bits == 5
    assert conv.variants["parity"].matrix.a_multiplier_bits == 7


def test_other_realisations_need_the_tables_of_the_layer_itself() -> None:
    conv = records(Recipe(activations=Activations(per_timestep=False), hadamard=Hadamard(**CHANNEL)))[1]
    assert conv.variants
    for variant in conv.variants.values():
        assert variant.table_bytes_all_steps == conv.table_bytes_all_steps


def test_grouped() -> None:
    work = records(Recipe(), groups=4)[1].matrix
    assert (work.m, work.n, work.k, work.count) == (PIXELS, OUTPUTS // 4, TERMS // 4, 4)
    assert work.macs == PIXELS * OUTPUTS * TERMS // 4


@pytest.mark.parametrize("kind", ["single", "double"])
def test_forward_blocks(kind: str) -> None:
    operand, conv = records(Recipe(hadamard=Hadamard(**CHANNEL | {"kind": kind})))
    (work,) = operand.hadamard
    assert (work.kind, work.axis, work.direction) == (kind, "channel", "forward")
    assert (work.order, work.blocks) == (3, 32 * PIXELS // 8)
    assert [inverse.direction for inverse in conv.hadamard] == (["inverse"] if kind == "single" else [])
    assert conv.matrix.a_multiplier_bits == (7 if kind == "single" else 4)


def test_run_time() -> None:
    _, conv = records(Recipe(hadamard=Hadamard(**CHANNEL)))
    (work,) = conv.hadamard
    assert (work.kind, work.order, work.blocks) == ("single", 3, 32 * PIXELS // 8)
    assert (conv.matrix.a_storage_bits, conv.matrix.a_multiplier_bits) == (4, 7)
    assert conv.matrix.accumulator_bits == (64 * 7 * TERMS).bit_length() + 1


def test_fold() -> None:
    """No inverse, weights of 4 + 3 bits in memory and in the multiplier."""
    _, conv = records(Recipe(hadamard=Hadamard(**CHANNEL, realisation="fold")))
    assert conv.hadamard == ()
    assert (conv.matrix.a_multiplier_bits, conv.matrix.w_multiplier_bits) == (4, 7)
    assert conv.weights.size_bytes == OUTPUTS * TERMS * 7 / 8
    assert conv.matrix.accumulator_bits == (8 * 56 * TERMS).bit_length() + 1


def test_parity_along_channels() -> None:
    """One bit less, and per output, tap and block of channels one bit times the sum of 8 weights."""
    _, conv = records(Recipe(hadamard=Hadamard(**CHANNEL, realisation="parity")))
    assert conv.hadamard[0].direction == "inverse"
    assert conv.matrix.a_multiplier_bits == 6
    assert conv.vector == {"requantize": PIXELS * OUTPUTS}
    assert conv.parity.matrix == replace(
        conv.matrix, k=9 * 4, a_storage_bits=1, a_multiplier_bits=1, w_storage_bits=7, w_multiplier_bits=7,
        conv=replace(conv.matrix.conv, in_channels=4),
    )  # fmt: skip
    # Seven bits hold 8 * 7 and its negative.
    assert conv.parity.weight_bytes == OUTPUTS * 9 * 4 * 7 / 8
    assert conv.weight_bytes == OUTPUTS * TERMS * 4 / 8 + OUTPUTS * 9 * 4 * 7 / 8
    assert (conv.macs, conv.parity_macs) == (PIXELS * OUTPUTS * TERMS, PIXELS * OUTPUTS * TERMS // 8)


@pytest.mark.parametrize(
    ("groups", "group_size", "blocks"),
    [
        (1, 8, 4),  # four blocks, four groups of weights
        (1, 4, 8),  # every block cut in two
        (1, 12, 5),  # 0-11 meets two blocks, 12-23 two, 24-31 one
        (4, None, 1),  # 8 channels each
        (8, None, 1),  # 4 channels each, half a block
    ],
)
def test_what_cuts_a_block_meets_its_parity_apart(groups: int, group_size: int | None, blocks: int) -> None:
    recipe = Recipe(
        hadamard=Hadamard(**CHANNEL, realisation="parity"), weights=Weights(group_size=group_size)
    )
    _, conv = records(recipe, groups=groups)
    assert conv.parity.matrix.k == 9 * blocks
    assert conv.parity.matrix.count == groups


def test_parity_along_the_width() -> None:
    """Two blocks of 8 columns: windows at the edges, inside each block, and two across the middle.

    Of 16 columns six differ; each is a row of the layer's own product, with one bit per term.
    """
    hadamard = Hadamard(kind="single", axis="width", order=3, realisation="parity")
    _, conv = records(Recipe(hadamard=hadamard))
    assert not conv.parity.block_sums
    assert conv.parity.matrix == replace(
        conv.matrix, m=8 * 6, a_storage_bits=1, a_multiplier_bits=1, conv=None
    )
    assert conv.weight_bytes == conv.weights.size_bytes


def test_groups_of_weights() -> None:
    """Four accumulators of 8 channels, four factors and four products in front of the rounding."""
    _, conv = records(Recipe(weights=Weights(group_size=8)))
    assert conv.matrix.segments == 4
    assert conv.matrix.accumulator_bits == (8 * 7 * 8 * 9).bit_length() + 1
    assert conv.vector == {"requantize": 4 * PIXELS * OUTPUTS}
    assert conv.table_bytes == (4 * 2 + 1 + 4) * OUTPUTS


def test_zero_points() -> None:
    """Unsigned codes keep their bits; a zero-point per table entry, its share of every sum beside it."""
    operand, conv = records(Recipe(activations=Activations(symmetric=False)))
    assert conv.matrix.a_multiplier_bits == 4
    assert operand.table_bytes == 3.5
    assert conv.table_bytes == (3 + 4 + 4) * OUTPUTS
    _, transformed = records(Recipe(activations=Activations(symmetric=False), hadamard=Hadamard(**CHANNEL)))
    assert transformed.matrix.a_multiplier_bits == 7
    assert transformed.table_bytes == (3 + 4) * OUTPUTS


@pytest.mark.parametrize(("bits", "found"), [(8, 8), (40, 15)])
def test_modelled_accumulators(bits: int, found: int) -> None:
    """What the layer has, and no more than it needs: 8 * 7 * 288 takes 14 bits and a sign."""
    _, conv = records(Recipe(accumulator=AccumulatorModel(bits=bits)))
    assert conv.matrix.accumulator_bits == found


def test_16_bits() -> None:
    _, conv = records(Recipe(activations=Activations(bits=16), hadamard=Hadamard(**CHANNEL)))
    assert (conv.matrix.a_storage_bits, conv.matrix.a_multiplier_bits) == (16, 19)


def linear_record(recipe: Recipe) -> LayerRecord:
    """A linear layer of 24 inputs and 16 outputs on 10 rows."""
    sample = Node("sample", "input", (), TensorType((10, 24)))
    layer = Node("layer", "linear", ("sample",), TensorType((10, 16)), {"outputs": 16}, {"weight": "w"})
    lowered = lower(Graph((sample, layer), "layer"), recipe)
    formats = width_formats(lowered, recipe, {})
    found = layer_records(lowered, formats, images=1, guided=False, table_steps=10)
    return next(record for record in found if record.name == "layer")


REALISATIONS = ("runtime", "fold", "parity")


@st.composite
def single_recipes(draw: st.DrawFn) -> Recipe:
    """Recipes with a single transform of any kind, realised at run time."""
    return Recipe(
        weights=Weights(
            bits=draw(st.integers(2, 8)), group_size=draw(st.none() | st.sampled_from([4, 6, 8, 16]))
        ),
        activations=Activations(bits=draw(st.integers(2, 8)), symmetric=draw(st.booleans())),
        hadamard=Hadamard(
            kind="single",
            axis=draw(st.sampled_from(["width", "channel"])),
            order=draw(st.integers(1, 3)),
            signs=draw(st.booleans()),
        ),
    )


def realised(recipe: Recipe, realisation: str) -> Recipe:
    return recipe.model_copy(
        update={"hadamard": recipe.hadamard.model_copy(update={"realisation": realisation})}
    )


@given(single_recipes(), st.booleans())
def test_a_variant_is_what_lowering_with_it_gives(recipe: Recipe, is_linear: bool) -> None:
    of = linear_record if is_linear else lambda given: records(given)[1]
    found = {name: of(realised(recipe, name)) for name in REALISATIONS}
    folds = found["fold"].realisation == "fold"
    assert found["runtime"].realisation == "runtime"
    assert found["parity"].realisation == "parity"
    names = set(REALISATIONS) if folds else {"runtime", "parity"}
    for own in names:
        assert found[own].variants.keys() == names - {own}
        for other, variant in found[own].variants.items():
            record = found[other]
            assert variant.matrix == record.matrix
            assert variant.hadamard == record.hadamard
            assert variant.vector == record.vector
            assert variant.parity == record.parity


def test_what_the_realisations_of_a_layer_trade() -> None:
    """W4A4, order 3: 7 x 4 bits behind butterflies, 4 x 7 without, 6 x 4 and a product of bits."""
    record = records(Recipe(hadamard=Hadamard(**CHANNEL)))[1]
    fold, parity = record.variants["fold"], record.variants["parity"]
    widths = [
        (matrix.a_multiplier_bits, matrix.w_multiplier_bits)
        for matrix in (record.matrix, fold.matrix, parity.matrix)
    ]
    assert widths == [(7, 4), (4, 7), (6, 4)]
    assert [variant.matrix.w_storage_bits for variant in (record, fold, parity)] == [4, 7, 4]
    assert (len(fold.hadamard), len(parity.hadamard)) == (0, 1)
    assert (record.parity, fold.parity) == (None, None)
    assert parity.parity.matrix.macs == record.macs // 8


@pytest.mark.parametrize(
    ("recipe", "realisation", "others"),
    [
        (Recipe(), None, set()),
        (Recipe(hadamard=Hadamard(**CHANNEL | {"order": 0})), None, set()),
        (Recipe(hadamard=Hadamard(**CHANNEL | {"kind": "double"})), "double", set()),
        (Recipe(hadamard=Hadamard(kind="single", axis="width", order=3)), "runtime", {"parity"}),
        (Recipe(hadamard=Hadamard(**CHANNEL), weights=Weights(group_size=4)), "runtime", {"parity"}),
        (Recipe(hadamard=Hadamard(**CHANNEL), weights=Weights(group_size=8)), "runtime", {"fold", "parity"}),
    ],
)
def test_which_realisations_there_are(recipe: Recipe, realisation: str | None, others: set[str]) -> None:
    conv = records(recipe)[1]
    assert (conv.realisation, set(conv.variants)) == (realisation, others)


@pytest.mark.parametrize(
    ("overflow", "own", "others"),
    [
        ("wrap", "runtime", {"fold"}),
        ("wrap", "fold", {"runtime"}),
        ("wrap", "parity", set()),
        ("saturate", "runtime", set()),
        ("saturate", "fold", set()),
    ],
)
def test_modelled_accumulators_tell_realisations_apart(overflow: str, own: str, others: set[str]) -> None:
    """A wrapped sum is the same whatever its terms, but not the sum of two wrapped ones."""
    recipe = Recipe(
        hadamard=Hadamard(**CHANNEL, realisation=own),
        accumulator=AccumulatorModel(bits=12, overflow=overflow),
    )
    conv = records(recipe)[1]
    assert (conv.realisation, set(conv.variants)) == (own, others)


@settings(max_examples=20)
@given(single_recipes(), st.sampled_from(REALISATIONS), st.booleans())
def test_macs_do_not_depend_on_the_recipe(recipe: Recipe, realisation: str, split: bool) -> None:
    """Nor on the realisation, on groups of weights, on a rule, or on the sides of a shortcut."""
    graph = shipped("digits").graph
    activations = recipe.activations.model_copy(update={"split_shortcut": split})
    rule = LayerRule(match="mid_block.*", weight_bits=7, hadamard=Hadamard(kind="double", axis="channel"))
    recipe = realised(recipe, realisation).model_copy(update={"activations": activations, "layers": (rule,)})
    lowered = lower(graph, recipe)
    found = layer_records(lowered, width_formats(lowered, recipe, {}), images=1, guided=False)
    assert {record.name: record.macs for record in found if record.matrix} == macs_by_layer(graph)
    for record in found:
        assert all(variant.matrix.macs == record.macs for variant in record.variants.values())
