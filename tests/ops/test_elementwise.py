"""Product, constant, scale and repeated sums: integer == exact in every layout, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hqsim.errors import NumericsError
from hqsim.ops import OPERATORS
from tests.ops.builders import FILLS, carrier, make_codes, make_node, prepare, run_both

SEEDS = st.integers(0, 2**32)
FILL = st.sampled_from(FILLS)
SMALL = st.integers(1, 5)
BITS = st.sampled_from([8, 12, 16])
RATIOS = st.floats(-6, 6).map(lambda exponent: 2.0**exponent)
REPEATS = st.sampled_from([(), (0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)])
"""Axes of one sample along which the second operand has length 1: always one run."""


def in_layout(codes: np.ndarray, channels_last: bool) -> np.ndarray:
    """The same codes, in memory as ``[b, h, w, c]`` where asked for."""
    if channels_last:
        return np.ascontiguousarray(codes.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return codes


@pytest.mark.parametrize("op", ["add", "product"])
@given(
    SEEDS, st.tuples(SMALL, SMALL, SMALL), REPEATS, BITS, RATIOS, RATIOS, FILL, st.booleans(), st.booleans()
)
def test_two_operands(op, seed, shape, repeats, bits, ratio_a, ratio_b, fill, last_a, last_b) -> None:
    rng = np.random.default_rng(seed)
    a, b = carrier(ratio_a, bits), carrier(ratio_b, bits)
    target = carrier(1.0 if op == "add" else 2.0**bits, bits)
    other = tuple(1 if axis in repeats else size for axis, size in enumerate(shape))
    node = make_node(op, shape, inputs=("a", "b"))
    arrays = prepare(node, {"a": a, "b": b, "y": target})
    x, y = make_codes(rng, a, (2, *shape), fill), make_codes(rng, b, (2, *other), fill)
    codes, saturated = run_both(node, arrays, [in_layout(x, last_a), in_layout(y, last_b)], target)
    plain, count = run_both(node, arrays, [x, y], target)
    assert np.array_equal(codes, plain)
    assert saturated == count


@pytest.mark.parametrize("op", ["add", "product"])
@pytest.mark.parametrize(("shape", "other"), [((7, 6), (1, 6)), ((7, 6), (7, 6)), ((6,), (6,))])
def test_tokens(op, shape, other) -> None:
    rng = np.random.default_rng(0)
    node = make_node(op, shape, inputs=("a", "b"))
    formats = {"a": carrier(0.01), "b": carrier(0.02), "y": carrier(0.3)}
    x = make_codes(rng, formats["a"], (2, *shape), "random")
    y = make_codes(rng, formats["b"], (2, *other), "random")
    codes, _ = run_both(node, prepare(node, formats), [x, y], formats["y"])
    real = [torch.from_numpy(codes * formats[name].scale) for name, codes in (("a", x), ("b", y))]
    expected = OPERATORS[op].evaluate(node, real, {}).numpy() / formats["y"].scale
    error = codes - np.clip(expected, -32768, 32767)
    # Factors of 15 bits: 2**-15 of 32768 codes, for each operand of a sum.
    assert np.abs(error).max() <= 0.5 + 2.0


def test_a_product_by_hand() -> None:
    """0.5 * 3 = 1.5 is 1 in steps of 1.5; -0.5 * 3 is -1; 0.5 * 1.5 = 0.75 is a half, rounded up."""
    formats = {"a": carrier(0.5), "b": carrier(1.5), "y": carrier(1.5)}
    node = make_node("product", (4,), inputs=("a", "b"))
    x, y = np.array([[1, -1, 1, -1]], np.int16), np.array([[2, 2, 1, 1]], np.int16)
    codes, _ = run_both(node, prepare(node, formats), [x, y], formats["y"])
    assert codes.tolist() == [[1, -1, 1, 0]]


@given(SEEDS, SMALL, SMALL, BITS, st.floats(-12, 3), st.floats(-3, 3), st.booleans(), FILL, st.booleans())
def test_constants(seed, tokens, dim, bits, log_ratio, value, is_table, fill, channels_last) -> None:
    rng = np.random.default_rng(seed)
    source, target = carrier(2.0 ** (log_ratio - 10), bits), carrier(2.0**-10, bits)
    shape = (tokens, dim, 2)
    parameters = {"t": rng.normal(0, 3, (1, *shape))} if is_table else {}
    node = make_node(
        "offset",
        shape,
        parameters={"table": "t"} if is_table else {},
        **({} if is_table else {"value": value}),
    )
    arrays = prepare(node, {"x": source, "y": target}, parameters=parameters)
    x = make_codes(rng, source, (2, *shape), fill)
    codes, _ = run_both(node, arrays, [in_layout(x, channels_last)], target)
    real = x * source.scale + (parameters["t"] if is_table else value)
    off = np.abs(codes - np.clip(real / target.scale, target.low, target.high))
    # Half a code, the table's 2**-9, and 2**-15 of the factor.
    assert off.max() <= 0.5 + 2.0**-9 + 2.0**-15 * np.abs(x * source.scale / target.scale).max() + 1e-9


def test_one_plus_a_small_scale() -> None:
    """A factor far below one code still has the constant right."""
    formats = {"x": carrier(2.0**-61), "y": carrier(2.0**-12)}
    with pytest.raises(NumericsError, match=r"^y: factor .* needs a shift of 63, allowed 0\.\.62"):
        prepare(make_node("offset", (3,), value=1.0), formats)
    formats["x"] = carrier(2.0**-50)
    node = make_node("offset", (3,), value=1.0)
    arrays = prepare(node, formats)
    assert arrays["shift"].tolist() == [40]
    x = np.array([[-32768, 0, 32767]], np.int16)
    assert run_both(node, arrays, [x], formats["y"])[0].tolist() == [[4096, 4096, 4096]]


def test_a_constant_beyond_the_headroom() -> None:
    formats = {"x": carrier(2.0**-40), "y": carrier(2.0**-12)}
    with pytest.raises(NumericsError, match=r"^y: the constant needs 62 bits, allowed 61; it is too large "):
        prepare(make_node("offset", (3,), value=2.0**9), formats)


def test_a_scale_changes_no_code() -> None:
    node = make_node("scale", (5,), factor=0.25)
    output = OPERATORS["scale"].output_format(node, [carrier(0.5, 12)], carrier(9.0))
    assert output == carrier(0.125, 12)
    x = make_codes(np.random.default_rng(0), output, (2, 5), "random")
    codes, _ = run_both(node, {}, [x], output)
    assert np.array_equal(codes, x)
    real = OPERATORS["scale"].evaluate(node, [torch.from_numpy(x * 0.5)], {})
    assert np.array_equal(real.numpy(), codes * output.scale)
