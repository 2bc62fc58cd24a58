"""What a transform makes of rows that are smooth, and of noise."""

import numpy as np
import pytest
import torch

from hqsim.analysis.outliers import transformed
from hqsim.analysis.spreading import first_coefficient_percent, spreading
from hqsim.errors import InputError
from hqsim.numerics import Transform

COLUMNS = [
    "transform", "convolutions", "kurtosis", "first_coefficient_percent", "even_percent",
    "sqnr_4bit_db", "gain_4bit_db", "sqnr_3bit_db", "gain_3bit_db", "better_percent",
]  # fmt: skip


def _first(x, transform):
    return first_coefficient_percent(transformed(x, transform, 1), transform, 1)


def test_equal_neighbours_meet_in_the_first_coefficient_unless_signs_part_them():
    rows = torch.randn(2, 8, 4, 1, generator=torch.Generator().manual_seed(0)).expand(2, 8, 4, 32)
    assert _first(rows.clone(), Transform("width", 5, signs=False)) == pytest.approx(100.0)
    assert _first(rows.clone(), Transform("width", 5, signs=True)) < 20.0


def test_noise_is_spread_evenly():
    noise = torch.randn(16, 8, 32, 32, generator=torch.Generator().manual_seed(0))
    for transform in (Transform("width", 5, signs=False), Transform("channel", 3, signs=True)):
        assert _first(noise.clone(), transform) == pytest.approx(100.0 / transform.size, rel=0.05)


def test_a_table_has_a_row_per_transform(tiny_model):
    table = spreading(tiny_model, images=2, steps=2, guidance=1.5)
    assert table.columns.tolist() == COLUMNS
    assert table["transform"].tolist() == [
        "none", "width-k5", "width-k5-signs", "channel-k3", "channel-k3-signs"
    ]  # fmt: skip
    assert table["convolutions"].nunique() == 1
    assert table["convolutions"][0] > 0
    none = table.iloc[0]
    assert (none["gain_4bit_db"], none["gain_3bit_db"], none["better_percent"]) == (0.0, 0.0, 0.0)
    assert np.isfinite(table[COLUMNS[1:]]).all(axis=None)
    assert (table["gain_4bit_db"][1:] != 0.0).all()


def test_a_run_is_one_part(tiny_model):
    with pytest.raises(InputError, match=r"^images: got 17, allowed 1 to 16"):
        spreading(tiny_model, images=17)
