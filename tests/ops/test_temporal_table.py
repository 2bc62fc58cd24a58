"""The look-up of precomputed temporal features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hqsim.errors import InputError
from hqsim.ops import OPERATORS
from tests.ops.builders import carrier, full_scale, make_node, prepare, run_both

TIMESTEPS = np.array([950, 500, 0])
TABLE = np.random.default_rng(0).normal(size=(3, 6))
PARAMETERS = {"t": TABLE, "t.timesteps": TIMESTEPS}


def table_node():
    return make_node("temporal_table", (6,), parameters={"table": "t", "timesteps": "t.timesteps"})


def test_rows_belong_to_their_timesteps() -> None:
    node, output = table_node(), full_scale(TABLE)
    arrays = prepare(node, {"x": carrier(1.0), "y": output}, parameters=PARAMETERS)
    codes, saturated = run_both(node, arrays, [np.array([0, 950, 0, 500])], output)
    assert np.abs(codes * output.scale - TABLE[[2, 0, 2, 1]]).max() <= output.scale / 2 * (1 + 1e-9)
    assert saturated == 0


def test_real_rows() -> None:
    parameters = {name: torch.from_numpy(array).float() for name, array in PARAMETERS.items()}
    found = OPERATORS["temporal_table"].evaluate(table_node(), (torch.tensor([500, 950]),), parameters)
    assert np.allclose(found.numpy(), TABLE[[1, 0]])


def test_codes_survive_their_real_values() -> None:
    """What a row of codes stands for becomes the same codes again."""
    output = full_scale(TABLE)
    codes = np.arange(-32768, 32768)
    assert np.array_equal(output.encode(output.decode(codes)), codes)


@pytest.mark.parametrize("form", ["integer", "exact"])
def test_other_timesteps_are_refused(form: str) -> None:
    node, output = table_node(), full_scale(TABLE)
    arrays = prepare(node, {"x": carrier(1.0), "y": output}, parameters=PARAMETERS)
    message = r"^'y': timesteps \[0, 7\] are not all in its table of precomputed temporal features; run with "
    with pytest.raises(InputError, match=message):
        getattr(OPERATORS["temporal_table"], form)(node, arrays, [np.array([7, 0])], output)
