"""GroupNorm parameters at the edges of what 64 bits hold."""

from __future__ import annotations

import numpy as np
import pytest

from hqsim.errors import NumericsError
from hqsim.graph import Node
from hqsim.numerics import Format
from tests.ops.builders import carrier, make_codes, make_node, prepare, run_both


def norm_node(shape: tuple[int, ...], eps: float = 1e-5) -> Node:
    return make_node("group_norm", shape, parameters={"weight": "g", "bias": "b"}, groups=1, eps=eps)


def arrays_of(
    node: Node, source: Format, target: Format, gain: float, offset: float
) -> dict[str, np.ndarray]:
    channels = node.type.shape[0]
    parameters = {"g": np.full(channels, gain), "b": np.full(channels, offset)}
    return prepare(node, {"x": source, "y": target}, parameters=parameters)


@pytest.mark.parametrize("gain", [0.0, 1e-12, 1e-6])
def test_a_dead_gain_leaves_the_offset(gain: float) -> None:
    """No shift may pass 62, however small the gain is beside the output scale."""
    source, target = carrier(0.01), carrier(1.0)
    node = norm_node((3, 4, 4))
    arrays = arrays_of(node, source, target, gain, 0.00001)
    assert arrays["gain_bits"][0] + 30 <= 62
    x = make_codes(np.random.default_rng(0), source, (2, 3, 4, 4), "random")
    codes, saturated = run_both(node, arrays, [x], target)
    assert (codes == 0).all()
    assert saturated == 0
    codes, _ = run_both(node, arrays_of(node, source, target, gain, -5.0), [x], target)
    assert (codes == -5).all()


def test_an_input_that_is_almost_zero_is_refused() -> None:
    """``n eps 2^(2f) / s^2 = 48 * 1e-5 * 4096 / 1e-20 = 2^67.4``."""
    with pytest.raises(
        NumericsError, match=r"^y: eps 1e-05 is too large beside the input scale 1e-10: .* 67 bits"
    ):
        arrays_of(norm_node((3, 4, 4)), carrier(1e-10), carrier(1.0), 1.0, 0.0)


def test_wide_codes_are_refused() -> None:
    with pytest.raises(NumericsError, match=r"^y: got codes of 24 bits, allowed 22; use narrower carriers$"):
        arrays_of(norm_node((3, 4, 4)), carrier(0.01, 24), carrier(1.0), 1.0, 0.0)


def test_groups_too_large_for_the_sum_of_squares_are_refused() -> None:
    """Two times 22 bits and ceil(log2 n) = 18: one more than 61."""
    with pytest.raises(
        NumericsError, match=r"^y: normalising 131073 codes of 16 bits needs 62 bits, allowed 61; "
    ):
        arrays_of(norm_node((131073,)), carrier(0.01), carrier(1.0), 1.0, 0.0)


def test_a_gain_beyond_its_output_scale_is_refused() -> None:
    with pytest.raises(NumericsError, match=r"^y: gain 6\.93e\+12 is too large for its output scale 1e-12$"):
        arrays_of(norm_node((3, 4, 4)), carrier(0.01), carrier(1e-12), 1.0, 0.0)
