"""Every quantization option on a whole model: no code differs, and each layer is what fake-quant says."""

import numpy as np
import pytest

import hqsim
from hqsim.quantize import Recipe
from hqsim.quantize.recipe import (
    AccumulatorModel,
    Activations,
    Attention,
    Carriers,
    Hadamard,
    LayerRule,
    Weights,
)
from hqsim.simulate.verify import operand_limit_lsb, operand_limit_percent

CHANNEL = {"kind": "single", "axis": "channel", "order": 3, "signs": True}
UNSIGNED = Activations(symmetric=False)
RECIPES = {
    "zero-points": Recipe(activations=UNSIGNED),
    "zero-points along the width": Recipe(activations=UNSIGNED, hadamard=Hadamard(kind="single")),
    "zero-points, one for all steps": Recipe(activations=Activations(symmetric=False, per_timestep=False)),
    "fold": Recipe(activations=UNSIGNED, hadamard=Hadamard(**CHANNEL, realisation="fold")),
    "parity": Recipe(hadamard=Hadamard(**CHANNEL, realisation="parity")),
    "parity along the width": Recipe(hadamard=Hadamard(kind="single", realisation="parity")),
    "double": Recipe(hadamard=Hadamard(kind="double", axis="none")),
    "double along channels": Recipe(hadamard=Hadamard(kind="double", axis="channel", order=4)),
    "groups": Recipe(weights=Weights(bits=3, group_size=8)),
    "split shortcut and groups": Recipe(
        weights=Weights(group_size=6),
        activations=Activations(split_shortcut=True, symmetric=False),
        hadamard=Hadamard(**CHANNEL),
    ),
    "16 bits": Recipe(activations=Activations(bits=16), hadamard=Hadamard(kind="single")),
    "16 unsigned bits": Recipe(
        activations=Activations(bits=16, symmetric=False), attention=Attention(probability_bits=16)
    ),
    "carriers of 8 bits": Recipe(carriers=Carriers(bits=8)),
    "carriers of 12 bits": Recipe(carriers=Carriers(bits=12), hadamard=Hadamard(**CHANNEL)),
    "wrapping accumulators": Recipe(accumulator=AccumulatorModel(bits=10)),
    "saturating accumulators": Recipe(
        accumulator=AccumulatorModel(bits=10, overflow="saturate"),
        hadamard=Hadamard(**CHANNEL, realisation="parity"),
    ),
    "rules": Recipe(
        layers=(
            LayerRule(match="mid_block.*", activation_bits=6, symmetric=False, group_size=4),
            LayerRule(match="up_blocks.*", hadamard=Hadamard(**CHANNEL, realisation="fold"), weight_bits=5),
            LayerRule(match="*.conv2", accumulator=AccumulatorModel(bits=12, overflow="saturate")),
        )
    ),
}
SETTINGS = {"steps": 2, "images": 1, "guidance": 1.0}


@pytest.mark.parametrize("name", RECIPES)
def test_an_option_is_exact_and_follows_fake_quant(tiny_model, name):
    recipe = RECIPES[name]
    result = hqsim.verify(hqsim.quantize(tiny_model, recipe, **SETTINGS), **SETTINGS)
    assert [check for check in result.checks() if check.required and not check.passed] == []
    assert result.mismatches == 0
    layers = result.layers
    assert (layers["observed_bits"] <= layers["accumulator_bits"]).all()
    events = layers["accumulator_events"]
    if recipe.accumulator.bits is not None:
        assert events.sum() > 0
    elif name != "rules":
        assert (events == 0).all()


@pytest.mark.parametrize("name", ["split shortcut and groups", "double along channels", "rules"])
def test_an_option_survives_saving(tiny_model, tmp_path, name):
    qmodel = hqsim.quantize(tiny_model, RECIPES[name], **SETTINGS)
    again = hqsim.load_quantized(qmodel.save(tmp_path / "q"))
    assert again.graph == qmodel.graph
    assert again.formats == qmodel.formats
    assert again.recipe == qmodel.recipe
    ours, theirs = (hqsim.simulate(q, images=1, steps=2) for q in (again, qmodel))
    assert np.array_equal(ours.latents, theirs.latents)


def test_realisations_make_the_same_images(tiny_model):
    """Calibration does not see where the inverse transform happens."""
    latents = []
    for realisation in ("runtime", "fold", "parity"):
        recipe = Recipe(hadamard=Hadamard(**CHANNEL, realisation=realisation))
        qmodel = hqsim.quantize(tiny_model, recipe, **SETTINGS)
        latents.append(hqsim.simulate(qmodel, images=2, steps=2).latents)
    assert np.array_equal(latents[0], latents[1])
    assert np.array_equal(latents[0], latents[2])


def test_widths_of_the_realisations(tiny_model):
    """W4A4 at order 3: 7 bits behind the inverse, 4 where the weights are folded, 6 by parity."""
    widths = {}
    for realisation in ("runtime", "fold", "parity"):
        recipe = Recipe(hadamard=Hadamard(**CHANNEL, realisation=realisation))
        result = hqsim.verify(
            hqsim.quantize(tiny_model, recipe, steps=1, images=1), steps=1, images=1, against="exact"
        )
        row = result.layers.set_index("layer").loc["mid_block.resnets.0.conv1"]
        widths[realisation] = row["multiplier_bits"]
        assert row["transform"] == " ".join(
            ["channel k=3 signs", *([realisation] if realisation != "runtime" else [])]
        )
    assert widths == {"runtime": 7, "fold": 4, "parity": 6}


@pytest.mark.parametrize(
    ("activation_bits", "carrier_bits", "percent"),
    [(2, 16, 0.1), (4, 16, 0.1), (5, 16, 0.2), (8, 16, 1.5), (4, 12, 1.5), (8, 12, 25.6), (16, 16, 100.0)],
)
def test_the_share_of_operand_codes_that_may_be_off(activation_bits, carrier_bits, percent):
    """Twice as much per bit of the operand, and per bit that the carrier lacks."""
    assert operand_limit_percent(activation_bits, carrier_bits) == pytest.approx(percent)


def test_a_carrier_as_coarse_as_the_operand_moves_it_by_a_code(tiny_model):
    """Half a carrier code, in sums of up to 16, beside operands of 8 bits."""
    options = {
        "activations": Activations(bits=8),
        "hadamard": Hadamard(kind="single", axis="channel", order=4),
    }
    coarse, fine = (
        hqsim.quantize(tiny_model, Recipe(carriers=Carriers(bits=bits), **options), **SETTINGS)
        for bits in (8, 16)
    )
    assert operand_limit_lsb(fine) == 1
    assert operand_limit_lsb(coarse) > 1
