"""Layers in words: the figures in the sentences are counted by hand here."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import hqsim
from hqsim.analysis.explain import _codes, explain_model, explain_run, known_layer
from hqsim.analysis.layer_table import layer_table
from hqsim.analysis.run_folder import Run
from hqsim.errors import InputError
from hqsim.numerics import Format

LAYER = "down_blocks.0.resnets.0.conv1"


@pytest.fixture(scope="module")
def run(tiny_qmodel):
    """A run with a layer table, errors of two steps and a sensitivity."""
    layers = layer_table(tiny_qmodel, pd.DataFrame({"layer": [LAYER], "lowest": [-900], "highest": [1000]}))
    return Run(
        name="hqdm-w4a4",
        manifest={"settings": {"recipe": "hqdm-w4a4"}, "inputs": {}},
        layers=layers,
        errors=pd.DataFrame({"layer": LAYER, "mode": "alone", "timestep": [666, 0], "sqnr_db": [10.0, 14.0]}),
        sensitivity=pd.DataFrame(
            {
                "layer": [LAYER, "conv_in"],
                "one_on_db": [20.0, 16.0],
                "gain_db": [0.25, 1.0],
                "share_percent": [28.5, 71.5],
            }
        ),
    )


def _section(explanation, title):
    return dict(next(section.lines for section in explanation.sections if section.title == title))


def test_the_bound_is_the_operand_times_the_weights(tiny_qmodel):
    """4-bit codes through a block of 16: 16 * 8 = 128; times the largest sum of weight codes of a channel."""
    widths = _section(explain_model(tiny_qmodel, LAYER, {}), "transform and widths")
    weight = tiny_qmodel.weights[f"{LAYER}.weight"].codes.astype(int)
    norm = np.abs(weight).reshape(len(weight), -1).sum(1).max()
    assert widths["transform"].startswith(
        "single Hadamard along width in blocks of 16 (k = 4), without signs; "
    )
    assert widths["stored"] == "4 bits"
    assert widths["at the multiplier"] == "8 bits: sums and differences of 16 codes reach -128 to 120"
    assert (
        f"operands of at most 128 times the largest sum of an output channel's weight codes, {norm:,}"
        in (widths["accumulator"])
    )
    assert f"no sum beyond {128 * norm:,}: " in widths["accumulator"]


def test_codes_with_exponents():
    codes = Format(bits=4, scales=(1.0,), exponents=(0, 1, 0, 2))
    assert _codes(codes) == "4-bit codes -8 to 7, times 1 (2 channels) or 2 (1 channels) or 4 (1 channels)"


def test_work_and_formats(tiny_qmodel):
    explanation = explain_model(tiny_qmodel, LAYER, {})
    work, formats = _section(explanation, "work"), _section(explanation, "formats")
    assert work["product"].endswith(
        f"[256 x 72] x [72 x 8] for one sample: {256 * 72 * 8:,} multiply-accumulates"
    )
    assert work["weights"] == "576 of shape 8 x 8 x 3 x 3"
    assert formats["operand 0"].startswith("4-bit codes -8 to 7 of '")
    assert "a scale for each of 3 timesteps" in formats["operand 0"]
    assert formats["weights"].startswith("4-bit codes -7 to 7; one scale per output channel (8), ")
    format_ = tiny_qmodel.formats[f"{LAYER}.operand"]
    assert [row["scale"] for row in explanation.scales] == list(format_.scales)
    assert [row["timestep"] for row in explanation.scales] == [666, 333, 0]


def test_an_attention_product_has_two_operands(tiny_qmodel):
    product = next(
        node
        for node in tiny_qmodel.graph
        if node.op == "matmul" and not tiny_qmodel.formats[node.inputs[0]].signed
    )
    widths = _section(explain_model(tiny_qmodel, product.name, {}), "transform and widths")
    assert widths["transform"] == "none"
    assert widths["at the multiplier"].endswith("the stored unsigned codes")
    assert widths["accumulator"].startswith("64 terms of at most 255 x 8: no sum beyond 130,560: 18 bits")


def test_the_cost_is_the_estimates_row(tiny_qmodel):
    estimate = hqsim.estimate(tiny_qmodel, "edge-npu-16x16")
    cost = _section(explain_model(tiny_qmodel, LAYER, {"npu": estimate}), "cost on npu, one step")
    row = estimate.layers.set_index("name").loc[LAYER]
    assert cost["time"].startswith(f"{row['cycles']:,} cycles, ")
    assert cost["time"].endswith(f"bound by {row['bound_by']}")


def test_what_a_trace_adds(tiny_qmodel, run):
    measured = _section(explain_model(tiny_qmodel, LAYER, {}, run), "measured, hqdm-w4a4")
    assert measured["SQNR against float, this layer alone quantized"] == (
        "12.0 dB, worst 10.0 dB at timestep 666"
    )
    assert measured["share of the final error"] == "28.50 %, number 2 of 2 layers"
    assert measured["this layer in float, all others quantized"] == "+0.25 dB"
    assert measured["sums seen"] == "-900 to 1,000: 11 bits"


def test_a_run_explains_itself(run):
    explanation = explain_run(run, LAYER)
    assert _section(explanation, "as quantized")["transform"] == "single width k4"
    assert "sums seen" in _section(explanation, "measured, hqdm-w4a4")
    assert explanation.to_json()["sections"]["as quantized"]["weight count"] == "576"


def test_unknown_layers_are_told_the_nearest(run):
    names = ["conv_in", "down.0.conv1", "down.0.conv2", "mid.attn"]
    with pytest.raises(InputError, match=r"^unknown layer 'conv1'; nearest: down.0.conv1, "):
        known_layer("conv1", names)
    with pytest.raises(InputError, match=r"^unknown layer 'mid.atn'; nearest: mid.attn"):
        known_layer("mid.atn", names)
    with pytest.raises(InputError, match=r"^unknown layer 'zzz'; the first of 4 is 'conv_in'$"):
        known_layer("zzz", names)


def test_a_trace_of_another_model_is_refused(tiny_qmodel, run):
    other = dataclasses.replace(run, layers=run.layers[run.layers["layer"] != LAYER])
    with pytest.raises(InputError, match="the trace of 'hqdm-w4a4' does not have layer"):
        explain_model(tiny_qmodel, LAYER, {}, other)
