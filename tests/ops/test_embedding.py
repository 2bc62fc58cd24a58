"""Look-ups: the timestep sinusoid against diffusers, and tables of codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding

from hqsim.graph import Node
from hqsim.ops import OPERATORS
from hqsim.ops.embedding import sinusoid
from tests.ops.builders import carrier, full_scale, make_node, prepare, run_both


def timestep_node(**changes: object) -> Node:
    attributes = {
        "dim": 32,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "scale": 1,
        "max_period": 10000,
        "rows": 1000,
    }
    return make_node("timestep_embedding", (32,), **(attributes | changes))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("freq_shift", [0, 1])
@pytest.mark.parametrize(("scale", "max_period"), [(1, 10000), (1000, 10000), (1, 100)])
def test_sinusoid_is_the_one_of_diffusers(flip: bool, freq_shift: int, scale: int, max_period: int) -> None:
    steps = np.array([0, 1, 19, 500, 999])
    node = timestep_node(flip_sin_to_cos=flip, freq_shift=freq_shift, scale=scale, max_period=max_period)
    expected = get_timestep_embedding(
        torch.from_numpy(steps),
        32,
        flip_sin_to_cos=flip,
        downscale_freq_shift=freq_shift,
        scale=scale,
        max_period=max_period,
    )
    # An angle of up to 999 * scale in float32 is off by half of its last place, times a few roundings.
    tolerance = 999 * scale * 2.0**-22
    assert np.abs(sinusoid(steps, node) - expected.numpy()).max() <= tolerance


def test_the_table_holds_every_timestep() -> None:
    node = timestep_node()
    output = OPERATORS["timestep_embedding"].output_format(node, [carrier(1.0)], carrier(123.0))
    assert output == carrier(2.0**-15)
    arrays = prepare(node, {"x": carrier(1.0), "y": output})
    steps = np.array([0, 7, 999])
    codes, saturated = run_both(node, arrays, [steps], output)
    real = codes * output.scale
    assert np.abs(real - sinusoid(steps, node)).max() <= output.scale
    # cos 0 = 1 is one code beyond the last one.
    assert codes[0].tolist() == [32767] * 16 + [0] * 16
    assert saturated == 0


def test_rows_of_a_learned_table() -> None:
    table = np.random.default_rng(0).normal(size=(11, 6))
    output = full_scale(table)
    node = make_node("embedding", (6,), parameters={"weight": "w"}, dim=6, tokens=0, rows=11)
    arrays = prepare(node, {"x": carrier(1.0), "y": output}, parameters={"w": table})
    labels = np.array([3, 10, 3, 0])
    codes, _ = run_both(node, arrays, [labels], output)
    assert np.abs(codes * output.scale - table[labels]).max() <= output.scale / 2 * (1 + 1e-9)
    assert OPERATORS["embedding"].shape(node, []) == (6,)


def test_rows_of_a_context_are_whole_sequences() -> None:
    table = np.random.default_rng(0).normal(size=(5, 3, 6))
    output = full_scale(table)
    node = make_node("embedding", (3, 6), parameters={"weight": "w"}, dim=6, tokens=3, rows=5)
    arrays = prepare(node, {"x": carrier(1.0), "y": output}, parameters={"w": table})
    labels = np.array([4, 0])
    codes, _ = run_both(node, arrays, [labels], output)
    assert np.abs(codes * output.scale - table[labels]).max() <= output.scale / 2 * (1 + 1e-9)
    assert OPERATORS["embedding"].shape(node, []) == (3, 6)
