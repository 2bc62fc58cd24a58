"""LayerNorm: integer == exact, against torch, and with a group norm of one token."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hqsim.ops import OPERATORS
from tests.ops.builders import FILLS, carrier, make_codes, make_node, prepare, run_both


@given(
    st.integers(0, 2**32),
    st.tuples(st.integers(1, 4), st.integers(1, 40)),
    st.sampled_from([8, 12, 16]),
    st.floats(-18, 3),
    st.floats(-4, 4),
    st.booleans(),
    st.sampled_from(FILLS),
)
def test_integer_and_exact(seed, shape, bits, log_scale, log_gain, affine, fill) -> None:
    rng = np.random.default_rng(seed)
    source, target = carrier(2.0**log_scale, bits), carrier(2.0 ** (4 - bits), bits)
    parameters = {"g": rng.normal(0, 2.0**log_gain, shape[1]), "b": rng.normal(0, 1, shape[1])}
    roles = {"weight": "g", "bias": "b"} if affine else {}
    node = make_node("layer_norm", shape, parameters=roles, eps=1e-5)
    arrays = prepare(node, {"x": source, "y": target}, parameters=parameters)
    x = make_codes(rng, source, (*reversed(shape), 2), fill).transpose(2, 1, 0)
    run_both(node, arrays, [x], target)


@pytest.mark.parametrize("affine", [False, True])
def test_against_torch(affine) -> None:
    """Full-range rows: the output is off by the roundings of its input and of itself."""
    rng = np.random.default_rng(0)
    real = rng.normal(0.5, 2.0, (2, 6, 320))
    source, target = carrier(np.abs(real).max() / 32767), carrier(6.0 / 32767)
    parameters = {"g": rng.normal(1, 0.1, 320), "b": rng.normal(0, 0.1, 320)}
    roles = {"weight": "g", "bias": "b"} if affine else {}
    node = make_node("layer_norm", (6, 320), parameters=roles, eps=1e-6)
    x = source.encode(real)
    codes, _ = run_both(node, prepare(node, {"x": source, "y": target}, parameters=parameters), [x], target)
    tensors = {name: torch.from_numpy(value) for name, value in parameters.items()}
    expected = OPERATORS["layer_norm"].evaluate(node, [torch.from_numpy(x * source.scale)], tensors)
    assert np.abs(codes * target.scale - expected.numpy()).max() <= 1.5 * target.scale


def test_one_token_is_one_group() -> None:
    """The same numbers through GroupNorm: one group, channels as the row."""
    rng = np.random.default_rng(1)
    parameters = {"g": rng.normal(1, 0.3, 12), "b": rng.normal(0, 0.3, 12)}
    formats = {"x": carrier(0.01), "y": carrier(2.0**-12)}
    roles = {"weight": "g", "bias": "b"}
    x = make_codes(rng, formats["x"], (3, 12), "random")
    results = []
    for node in (
        make_node("layer_norm", (12,), parameters=roles, eps=1e-5),
        make_node("group_norm", (12,), parameters=roles, eps=1e-5, groups=1),
    ):
        results.append(run_both(node, prepare(node, formats, parameters=parameters), [x], formats["y"])[0])
    assert np.array_equal(*results)
