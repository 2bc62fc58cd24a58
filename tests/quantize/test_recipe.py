"""Recipes: names, files, and what the schema refuses."""

import re

import pytest

from hqsim.errors import InputError
from hqsim.quantize import Recipe, list_recipes, load_recipe


@pytest.fixture
def recipe_file(tmp_path):
    def write(text, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


METHODS = ["hqdm", "hqdm-channel", "ptq", "ptq-asym", "double"]


@pytest.mark.parametrize("method", [*METHODS, "hqdm-mixed", "hqdm-exponents"])
@pytest.mark.parametrize(("weights", "activations"), [(4, 4), (8, 8), (2, 8), (3, 5), (4, 16)])
def test_method_and_widths_compose(method, weights, activations):
    recipe = load_recipe(f"{method}-w{weights}a{activations}")
    assert recipe.name == f"{method}-w{weights}a{activations}"
    assert (recipe.weights.bits, recipe.activations.bits) == (weights, activations)


def test_hqdm_is_the_method_of_the_paper():
    hadamard = load_recipe("hqdm-w4a4").hadamard
    assert (hadamard.kind, hadamard.axis, hadamard.order, hadamard.signs) == ("single", "width", 5, False)


def test_hqdm_channel_is_our_own():
    hadamard = load_recipe("hqdm-channel-w4a4").hadamard
    assert (hadamard.kind, hadamard.axis, hadamard.order, hadamard.signs) == ("single", "channel", 3, True)


def test_hqdm_mixed_is_hqdm_channel_but_behind_activations():
    mixed, channel = load_recipe("hqdm-mixed-w4a4"), load_recipe("hqdm-channel-w4a4")
    own, *others = mixed.layers
    assert (own.match, own.symmetric, own.hadamard.kind) == ("@activation", False, "none")
    assert (mixed.hadamard, mixed.activations, tuple(others)) == (
        channel.hadamard, channel.activations, channel.layers
    )  # fmt: skip


def test_hqdm_exponents_is_hqdm_channel_with_exponents():
    own, channel = load_recipe("hqdm-exponents-w4a4"), load_recipe("hqdm-channel-w4a4")
    assert own.activations == channel.activations.model_copy(update={"exponents": 1})
    assert own.hadamard == channel.hadamard
    assert own.layers == tuple(rule.model_copy(update={"exponents": 0}) for rule in channel.layers)


@pytest.mark.parametrize("method", METHODS)
def test_first_and_last_layers_have_8_bits(method):
    rules = load_recipe(f"{method}-w4a4").layers
    assert [(rule.match, rule.weight_bits, rule.activation_bits) for rule in rules] == [
        ("@first", 8, 8),
        ("@last", 8, 8),
    ]


@pytest.mark.parametrize(("name", "symmetric"), [("ptq-w8a8", True), ("ptq-asym-w8a8", False)])
def test_plain_ptq_has_no_transform(name, symmetric):
    recipe = load_recipe(name)
    assert (recipe.hadamard.kind, recipe.activations.symmetric) == ("none", symmetric)


def test_double_is_the_papers_comparison():
    """Linear layers only: along the width it does not exist."""
    hadamard = load_recipe("double-w4a4").hadamard
    assert (hadamard.kind, hadamard.axis, hadamard.order) == ("double", "none", 5)


def test_every_method_is_listed_and_loads():
    assert set(METHODS) <= set(list_recipes())
    for method in list_recipes():
        assert load_recipe(f"{method}-w4a4").description


def test_a_loaded_recipe_is_returned_as_it_is():
    recipe = Recipe(name="mine")
    assert load_recipe(recipe) is recipe


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("hqdmm-w4a4", "hqdm-w4a4"), ("hqdm", "hqdm-w4a4"), ("pqt-w4a4", "ptq-w4a4"), ("ptq-4w4a", "ptq-w4a4")],
)
def test_an_unknown_name_suggests_the_nearest(name, nearest):
    with pytest.raises(
        InputError, match=rf"^unknown recipe '{name}'; did you mean '{nearest}'\? Known: .*\bptq-w4a4\b"
    ):
        load_recipe(name)


@pytest.mark.parametrize(
    ("name", "what", "bits", "allowed"),
    [
        ("hqdm-w1a4", "weights", 1, "2 to 8"),
        ("hqdm-w9a4", "weights", 9, "2 to 8"),
        ("ptq-w16a8", "weights", 16, "2 to 8"),
        ("ptq-w4a1", "activations", 1, "2 to 8, or 16"),
        ("ptq-w4a12", "activations", 12, "2 to 8, or 16"),
    ],
)
def test_widths_that_do_not_exist(name, what, bits, allowed):
    message = rf"^recipe '{name}': {what}: got {bits} bits, allowed {allowed} \(as in '-w4a4'\)$"
    with pytest.raises(InputError, match=message):
        load_recipe(name)


def test_a_file(recipe_file):
    path = recipe_file(
        "weights: {bits: 3, group_size: 64}\n"
        "activations: {bits: 6, symmetric: false, per_timestep: false, split_shortcut: true}\n"
        "attention: {operand_bits: 5, probability_bits: 7}\n"
        "carriers: {bits: 12, margin: 1.5}\n"
        "hadamard: {kind: single, axis: channel, order: 2, signs: true, partial: identity,\n"
        "  realisation: fold}\n"
        "accumulator: {bits: 20, overflow: saturate}\n"
        "layers:\n  - {match: 'mid_block.*', weight_bits: 8, symmetric: true, accumulator: {bits: null}}\n"
    )
    recipe = load_recipe(path)
    assert recipe.name == "mine"
    assert (recipe.weights.bits, recipe.activations.bits, recipe.activations.per_timestep) == (3, 6, False)
    assert (recipe.attention.operand_bits, recipe.attention.probability_bits) == (5, 7)
    assert (recipe.carriers.bits, recipe.carriers.margin) == (12, 1.5)
    assert (recipe.hadamard.partial, recipe.hadamard.realisation) == ("identity", "fold")
    assert recipe.weights.group_size == 64
    assert (recipe.activations.symmetric, recipe.activations.split_shortcut) == (False, True)
    assert (recipe.accumulator.bits, recipe.accumulator.overflow) == (20, "saturate")
    (rule,) = recipe.layers
    assert (rule.match, rule.weight_bits, rule.activation_bits) == ("mid_block.*", 8, None)
    assert (rule.symmetric, rule.split_shortcut, rule.accumulator.bits) == (True, None, None)


def test_a_file_may_name_itself(recipe_file):
    assert load_recipe(str(recipe_file("name: w3\nweights: {bits: 3}\n"))).name == "w3"


WIDTH = "must be an integer, at least 2, at most 8, not"
ACTIVATION_WIDTH = "must be one of 2, 3, 4, 5, 6, 7, 8, 16, not"
REFUSED = {
    "1 bit": ("weights: {bits: 1}\n", f"1:17: weights.bits: {WIDTH} 1"),
    "9 bits": ("activations:\n  bits: 9\n", f"2:9: activations.bits: {ACTIVATION_WIDTH} 9"),
    "text": ("weights: {bits: '4'}\n", f"1:17: weights.bits: {WIDTH} '4' (write the number without quotes)"),
    "nested key": (
        "weights:\n  bit: 4\n",
        "2:3: weights.bit: unknown key (did you mean 'bits'?); allowed: bits, group_size",
    ),
    "method": (
        "hadamard: {kind: triple}\n",
        "1:18: hadamard.kind: must be one of 'none', 'single', 'double', not 'triple' "
        "(did you mean 'single'?)",
    ),
    "double along width": (
        "hadamard: {kind: double}\n",
        "1:11: hadamard: kind 'double' does not exist along axis 'width'; set axis to 'none' or to 'channel'",
    ),
    "double, folded": (
        "hadamard: {kind: double, axis: none, realisation: fold}\n",
        "1:11: hadamard: realisation 'fold' is one of kind 'single'; 'double' has no inverse",
    ),
    "accumulator": (
        "accumulator: {bits: 4}\n",
        "1:21: accumulator.bits: must be an integer, at least 8, at most 48, not 4",
    ),
    "group": (
        "weights: {group_size: 1}\n",
        "1:23: weights.group_size: must be an integer, at least 2, not 1",
    ),
    "order": (
        "hadamard: {order: 7}\n",
        "1:19: hadamard.order: must be an integer, at least 0, at most 6, not 7",
    ),
    "small number": (
        "carriers: {margin: 7e-12}\n",
        "1:20: carriers.margin: must be a number, at least 1.0, at most 4.0, not 7e-12",
    ),
    "not a boolean": (
        "activations: {per_timestep: no}\n",
        "1:29: activations.per_timestep: must be true or false, not 'no'",
    ),
    "duplicate": (
        "weights: {bits: 4}\nweights: {bits: 5}\n",
        "2:1: key 'weights' is given twice; it stands first on line 1",
    ),
    "tab": ("weights:\n\tbits: 4\n", "2:1: a tab in the indentation; YAML indents with spaces only"),
    "rule without a layer": (
        "layers:\n  - {weight_bits: 4}\n",
        "2:5: layers[0].match: is missing; give text, at least 1 characters",
    ),
    "empty": ("", "1:1: the file holds no YAML document; it is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_file_says_where(recipe_file, name):
    text, message = REFUSED[name]
    path = recipe_file(text)
    with pytest.raises(InputError, match=f"^{re.escape(f'{path}:{message}')}$"):
        load_recipe(path)


def test_an_unknown_key_lists_what_is_allowed(recipe_file):
    path = recipe_file("weights: {bits: 4}\nactivation: {bits: 4}\n")
    message = f"{path}:2:1: activation: unknown key (did you mean 'activations'?); allowed: accumulator, "
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        load_recipe(path)


def test_all_faults_of_a_file_are_told_at_once(recipe_file):
    path = recipe_file("weights: {bits: 1}\nactivations: {bits: 9}\nfoo: 1\n")
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    places = [line.removeprefix(str(path)).split(" ")[0] for line in str(caught.value).splitlines()]
    assert places == [":1:17:", ":2:21:", ":3:1:"]


def test_a_missing_file(tmp_path):
    with pytest.raises(
        InputError, match=rf"^{re.escape(str(tmp_path))}/none\.yaml: cannot be read: No such file"
    ):
        load_recipe(tmp_path / "none.yaml")
