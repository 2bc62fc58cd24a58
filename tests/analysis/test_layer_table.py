"""The layer table against shapes and weights counted here."""

import numpy as np
import pandas as pd

from hqsim.analysis.layer_table import layer_table
from hqsim.simulate.verify import matrix_layers

LAYER = "down_blocks.0.resnets.0.conv1"


def test_every_matrix_layer_in_order(tiny_qmodel):
    table = layer_table(tiny_qmodel)
    assert table["layer"].tolist() == [node.name for node in matrix_layers(tiny_qmodel)]
    assert table[["observed_bits", "accumulator_lowest", "accumulator_highest"]].isna().all(axis=None)


def test_a_convolution_by_hand(tiny_qmodel):
    """8 to 8 channels, 3 x 3, on 16 x 16: blocks of 16 widen 4-bit codes to [-128, 120], 8 bits."""
    row = layer_table(tiny_qmodel).set_index("layer").loc[LAYER]
    codes = tiny_qmodel.weights[f"{LAYER}.weight"].codes.astype(int)
    bound = 128 * int(np.abs(codes).reshape(8, -1).sum(1).max())
    assert row["macs"] == 16 * 16 * 8 * 8 * 9
    assert row["weight_count"] == 576
    assert (row["weight_bits"], row["storage_bits"], row["multiplier_bits"]) == (4, 4, 8)
    assert (row["transform"], row["realisation"], row["scale_entries"]) == ("single width k4", "runtime", 3)
    assert row["symmetric"]
    assert row["accumulator_bits"] == bound.bit_length() + 1


def test_observed_sums_of_all_steps_are_joined(tiny_qmodel):
    """-1000 and 511 need 11 bits."""
    seen = pd.DataFrame({"layer": LAYER, "step": [0, 1], "lowest": [-1000, -3], "highest": [7, 511]})
    row = layer_table(tiny_qmodel, seen).set_index("layer").loc[LAYER]
    assert (row["accumulator_lowest"], row["accumulator_highest"], row["observed_bits"]) == (-1000, 511, 11)
