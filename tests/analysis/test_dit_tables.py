"""The tables of DiT quantization: their rows, and what must be equal or larger in them."""

import numpy as np
import pytest

import hqsim
from hqsim.analysis.dit_tables import bits_per_weight, calibration_table, weight_table

SMALL = {"steps": 2, "images": 2}
FIGURES = ["sqnr_db", "psnr_db", "first_step_sqnr_db", "last_step_sqnr_db", "bits_per_weight"]


def test_one_step_beside_all_steps(tiny_dit):
    table = calibration_table(tiny_dit, widths=("w8a8",), **SMALL)
    assert table.columns.tolist() == ["calibration", "widths", *FIGURES]
    assert table["calibration"].tolist() == [
        "first step, one scale",
        "all steps, one scale",
        "all steps, a scale per timestep",
    ]
    assert table["sqnr_db"].nunique() == 3
    assert np.isfinite(table[FIGURES]).all(axis=None)


def test_groups_beside_channels(tiny_dit):
    table = weight_table(tiny_dit, widths=("w4a8",), groups=(None, 256, 8), **SMALL)
    assert table["weights"].tolist() == ["per channel", "groups of 256", "groups of 8"]
    channel, whole, groups = table[FIGURES].to_dict("records")
    assert whole == channel  # no layer of the small model has more than 256 input channels
    assert groups["bits_per_weight"] > channel["bits_per_weight"]
    assert groups["first_step_sqnr_db"] > channel["first_step_sqnr_db"]


def test_bits_per_weight_counts_scales(tiny_dit):
    """Codes of 4 bits (8 in the first and the last layer), 16 bits per output channel."""
    qmodel = hqsim.quantize(tiny_dit, "ditptq-w4a8", **SMALL)
    codes = scales = weights = 0
    for name, weight in qmodel.weights.items():
        outputs, *inputs = tiny_dit.parameters[name].shape
        wide = name.startswith(("pos_embed.", "proj_out_2."))
        codes += outputs * int(np.prod(inputs)) * (8 if wide else 4)
        scales += outputs * -(-inputs[0] // 128) * 16
        weights += outputs * int(np.prod(inputs))
        assert weight.bits == (8 if wide else 4)
    assert bits_per_weight(qmodel) == pytest.approx((codes + scales) / weights)
