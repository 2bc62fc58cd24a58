"""SiLU and both GELUs: integer == exact, the tables against mpmath-free formulas, all codes up to 8 bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hqsim.ops import OPERATORS
from hqsim.ops.gate import Gate
from tests.ops.builders import FILLS, carrier, make_codes, make_node, prepare, run_both

GATES = ("silu", "gelu", "gelu_tanh")
REAL = {
    "silu": lambda x: x / (1.0 + math.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1.0 + math.erf(x / math.sqrt(2.0))),
    "gelu_tanh": lambda x: 0.5 * x * (1.0 + math.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))),
}
"""The formulas as their authors wrote them."""


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("step", [2.0**-6, 0.3])
def test_every_narrow_code_is_the_rounded_real_result(gate: str, bits: int, step: float) -> None:
    """A full table is exact: no other code is nearer to the real result."""
    source, target = carrier(step, bits), carrier(step * 0.7, bits)
    node = make_node(gate, (2**bits,))
    arrays = prepare(node, {"x": source, "y": target})
    assert arrays["table"].shape == (2**bits,)
    x = np.arange(source.low, source.high + 1)[None].astype(source.dtype)
    codes, saturated = run_both(node, arrays, [x], target)
    real = np.array([REAL[gate](code * step) for code in x[0]]) / target.scale
    assert np.abs(codes[0] - np.clip(real, target.low, target.high)).max() <= 0.5 + 1e-9
    assert saturated == 0


@pytest.mark.parametrize("gate", GATES)
def test_every_code_of_16_bits_is_near_the_real_result(gate: str) -> None:
    """Interpolation is off by at most h²/8 max|g''| |x| (h = 1/32), below 5e-4 for all three."""
    source, target = carrier(2.0**-12), carrier(2.0**-12)
    node = make_node(gate, (2**16,))
    arrays = prepare(node, {"x": source, "y": target})
    x = np.arange(source.low, source.high + 1)[None].astype(source.dtype)
    codes, _ = run_both(node, arrays, [x], target)
    real = torch.from_numpy(x * source.scale)
    expected = OPERATORS[gate].evaluate(node, [real], {}).numpy()
    error = np.abs(codes * target.scale - np.clip(expected, -8.0, 8.0 - target.scale))
    assert error.max() <= 5e-4 + target.scale


@pytest.mark.parametrize("gate", GATES)
def test_both_halves_of_a_gate_belong_together(gate: str) -> None:
    """``x g(x) - (-x) g(-x) = x``, so results at x and -x differ by x, to one rounding each."""
    source, target = carrier(2.0**-12), carrier(2.0**-12)
    node = make_node(gate, (32767,))
    arrays = prepare(node, {"x": source, "y": target})
    x = np.arange(1, 32768, dtype=np.int16)[None]
    (above, _), (below, _) = (run_both(node, arrays, [codes], target) for codes in (x, -x))
    assert np.abs(above.astype(int) - below - x).max() <= 1


@given(
    st.integers(0, 2**32),
    st.sampled_from(GATES),
    st.integers(1, 40),
    st.sampled_from([8, 12, 16]),
    st.floats(-16, -2),
    st.floats(-6, 3),
    st.sampled_from(FILLS),
    st.booleans(),
)
def test_integer_and_exact(seed, gate, length, bits, log_scale, log_ratio, fill, channels_last) -> None:
    rng = np.random.default_rng(seed)
    source, target = carrier(2.0**log_scale, bits), carrier(2.0 ** (log_scale - log_ratio), bits)
    node = make_node(gate, (length, 2, 3))
    arrays = prepare(node, {"x": source, "y": target})
    x = make_codes(rng, source, (2, 2, 3, length), fill).transpose(0, 3, 1, 2)
    codes, _ = run_both(node, arrays, [x if channels_last else np.ascontiguousarray(x)], target)
    assert codes.transpose(0, 2, 3, 1).flags.c_contiguous or not channels_last


@pytest.mark.parametrize("gate", GATES)
def test_the_knots_fall_from_a_half_to_nothing(gate: str) -> None:
    operator = OPERATORS[gate]
    assert isinstance(operator, Gate)
    knots = operator.knots()
    assert (knots.dtype, len(knots), knots[0]) == (np.int64, 513, 2**19)
    assert (np.diff(knots) <= 0).all()
    assert knots[-1] <= 1
