"""The error table is verification's and the layers' SQNR, in one tidy form."""

import pandas as pd
import pytest

import hqsim
from hqsim.analysis.errors import errors
from hqsim.analysis.layer_sqnr import layer_sqnr
from hqsim.simulate.sampler import resolve_settings
from hqsim.simulate.verify import matrix_layers

RUN = {"steps": 2, "guidance": 1.5, "seed": 1}


@pytest.fixture(scope="module")
def table(tiny_qmodel):
    settings = resolve_settings(tiny_qmodel, labels=None, images=1, **RUN)
    return errors(tiny_qmodel, settings, lambda *_: None)


def test_one_row_per_layer_step_and_mode(tiny_qmodel, table):
    assert table.columns.tolist() == [
        "layer", "step", "timestep", "mode", "sqnr_db", "mismatch_percent", "max_lsb",
    ]  # fmt: skip
    counts = table["mode"].value_counts().to_dict()
    rows = 2 * len(matrix_layers(tiny_qmodel))
    assert counts == dict.fromkeys(("teacher-forced", "free-running", "alone", "network"), rows)
    against_float = table["mode"].isin(["alone", "network"])
    assert table.loc[against_float, ["mismatch_percent", "max_lsb"]].isna().all(axis=None)
    assert table.loc[~against_float, ["mismatch_percent", "max_lsb"]].notna().all(axis=None)


def test_it_is_what_verification_and_layer_sqnr_find(tiny_qmodel, table):
    verified = hqsim.verify(tiny_qmodel, against="fakequant", images=1, **RUN).step_layers
    found = table[table["mode"].isin(["teacher-forced", "free-running"])]
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True), verified.astype({"max_lsb": "Int64"}), check_dtype=False
    )
    measured = layer_sqnr(tiny_qmodel, images=1, **RUN).set_index(["layer", "step"])["alone_sqnr_db"]
    alone = table[table["mode"] == "alone"].set_index(["layer", "step"])["sqnr_db"]
    pd.testing.assert_series_equal(alone, measured, check_names=False)
