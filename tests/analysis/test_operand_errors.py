"""Which codes keep operands better, by what the operands come from."""

import numpy as np
import pytest

import hqsim
from hqsim.analysis.operand_errors import operand_errors
from hqsim.errors import InputError

PAIR = ("efficientdm-w4a4", "hqdm-channel-w4a4")
RUN = {"images": 2, "steps": 2, "guidance": 1.5}


def test_a_row_per_source(tiny_model):
    table = operand_errors(tiny_model, PAIR, **RUN)
    assert table.columns.tolist() == ["source", "layers", *PAIR, "difference_db", "better_percent"]
    assert {"silu", "concat", "group_norm"} <= set(table["source"])
    assert table["layers"].is_monotonic_decreasing
    assert np.isfinite(table[[*PAIR, "difference_db"]]).all(axis=None)
    qmodel = hqsim.quantize(tiny_model, PAIR[0], **RUN)
    four = [n for n in qmodel.graph if n.op in ("conv2d", "linear") and qmodel.formats[n.inputs[0]].bits == 4]
    assert table["layers"].sum() == len(four), "8-bit layers are left out"


def test_weights_say_nothing_of_operands(tiny_model):
    table = operand_errors(tiny_model, ("ptq-w4a4", "ptq-w2a4"), **RUN)
    assert table["difference_db"].tolist() == pytest.approx([0.0] * len(table), abs=1e-3)


def test_asymmetric_codes_suit_what_is_skewed(tiny_model):
    table = operand_errors(tiny_model, ("ptq-w4a4", "ptq-asym-w4a4"), **RUN).set_index("source")
    assert table.loc["silu", "difference_db"] > 1.0
    assert table.loc["silu", "better_percent"] > 90.0


@pytest.mark.parametrize(
    ("recipes", "images", "message"),
    [
        (("ptq-w4a4", "ptq-w4a3"), 2, "different widths; take recipes of one width"),
        (PAIR, 17, "^images: got 17, allowed 1 to 16"),
        (("ptq-w4a4", "pqt-w4a4"), 2, "ptq"),
    ],
)
def test_what_cannot_be_compared(tiny_model, recipes, images, message):
    with pytest.raises(InputError, match=message):
        operand_errors(tiny_model, recipes, images=images, steps=2, guidance=1.5)
