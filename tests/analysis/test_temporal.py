"""Errors of temporal features: against a plain evaluation of the model's own module."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hqsim
from hqsim.analysis.temporal import temporal_errors
from hqsim.quantize.precompute import precompute_temporal


@pytest.fixture(scope="module")
def fine(tiny_model):
    """Eight bits, 2 steps."""
    return hqsim.quantize(tiny_model, "ptq-w8a8", steps=2, images=1, guidance=1.0)


def test_one_row_per_model_and_timestep(fine, tiny_qmodel):
    found = temporal_errors({"coarse": tiny_qmodel, "fine": fine})
    assert list(zip(found["model"], found["timestep"], strict=True)) == [
        ("coarse", 666), ("coarse", 333), ("coarse", 0), ("fine", 500), ("fine", 0),
    ]  # fmt: skip
    errors = found.groupby("model")["squared_error"].mean()
    assert errors["fine"] < 0.25 * errors["coarse"]
    assert (found["worst_sqnr_db"] <= found["sqnr_db"] + 1e-9).all()


def test_signal_and_error_fit_the_module(fine, tiny_module):
    """``error = signal / 10^(sqnr / 10)`` with the signal of diffusers' own layers."""
    found = temporal_errors({"fine": fine})
    projections = [m.time_emb_proj for m in tiny_module.modules() if hasattr(m, "time_emb_proj")]
    with torch.no_grad():
        for _, row in found.iterrows():
            time = tiny_module.time_embedding(tiny_module.time_proj(torch.full((4,), row["timestep"])))
            hidden = torch.nn.functional.silu(time + tiny_module.class_embedding(torch.arange(4)))
            signal = sum(float(layer(hidden).square().sum()) for layer in projections) / 4
            expected = signal / 10 ** (row["sqnr_db"] / 10)
            # The model has 3 classes and "no class": the four rows of its class embedding.
            assert row["squared_error"] == pytest.approx(expected, rel=1e-3)


def test_tables_have_the_same_features(fine):
    plain, tabled = temporal_errors({"x": fine}), temporal_errors({"x": precompute_temporal(fine)})
    assert np.array_equal(plain["squared_error"], tabled["squared_error"])
