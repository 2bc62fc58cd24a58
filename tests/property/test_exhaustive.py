"""Scalar functions on every code of up to 8 bits, against Python integers and exact fractions."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.linalg import hadamard

from hqsim.numerics import Format, Transform, dyadic, round_half_up, shift_round_half_up
from hqsim.ops import OPERATORS, Multiply, WeightCodes
from tests import naive
from tests.ops.builders import carrier, make_node, prepare, run_both, transform_attributes
from tests.property.gates import GATES

BYTES = np.arange(-128, 128)
MULTIPLIERS = [2**14, 2**14 + 1, 20000, 21845, 24576, 2**15 - 1]


def test_rounding_by_shifts() -> None:
    x = np.arange(-(2**11), 2**11)
    for shift in range(-4, 14):
        expected = [naive.shifted(value, shift) for value in x.tolist()]
        assert shift_round_half_up(x, shift).tolist() == expected


def test_rounding_of_reals() -> None:
    """Eighths: every tie, and both sides of it."""
    eighths = range(-(2**10), 2**10)
    expected = [naive.round_half_up(Fraction(value, 8)) for value in eighths]
    assert round_half_up(np.array(eighths) / 8).tolist() == expected


def test_every_dyadic_factor_finds_itself() -> None:
    """All multipliers of 15 bits with every shift."""
    multiplier = np.arange(2**14, 2**15)
    for shift in range(63):
        factor = dyadic(np.ldexp(multiplier.astype(np.float64), -shift))
        assert np.array_equal(factor.multiplier, multiplier)
        assert np.all(factor.shift == shift)


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("multiplier", MULTIPLIERS)
def test_rescale(multiplier: int, bits: int) -> None:
    """All codes of 8 bits, every shift."""
    node, output = make_node("rescale", BYTES.shape), carrier(1.0, bits)
    for shift in range(63):
        source = carrier(math.ldexp(multiplier, -shift), 8)
        arrays = prepare(node, {"x": source, "y": output})
        rounded = [(2 * code * multiplier + 2**shift) >> (shift + 1) for code in BYTES.tolist()]
        expected = [min(max(value, output.low), output.high) for value in rounded]
        codes, saturated = run_both(node, arrays, [BYTES[None].astype(np.int8)], output)
        assert codes[0].tolist() == expected
        assert saturated == sum(a != b for a, b in zip(rounded, expected, strict=True))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("zero_point", ["none", "lowest", "middle", "highest"])
def test_quantize(bits: int, zero_point: str) -> None:
    """All carrier codes of 8 and of 16 bits, into every operand width."""
    places = {"lowest": 0, "middle": 2 ** (bits - 1), "highest": 2**bits - 1}
    z = places.get(zero_point, 0)
    output = Format(bits, (1.0,), signed=zero_point == "none", zero_points=(z,))
    for width in (8, 16):
        x = np.arange(-(2 ** (width - 1)), 2 ** (width - 1))
        for multiplier, shift in ((2**14, 15), (24576, 14 + width - bits), (2**15 - 1, 15 + width - bits)):
            node = make_node("quantize", x.shape, symmetric=z == 0, **transform_attributes(None, 1))
            formats = {"x": carrier(math.ldexp(multiplier, -shift), width), "y": output}
            rounded = np.floor_divide(2 * x * multiplier + 2**shift, 2 ** (shift + 1)) + z
            codes, saturated = run_both(
                node, prepare(node, formats), [x[None].astype(formats["x"].dtype)], output
            )
            assert np.array_equal(codes[0], np.minimum(np.maximum(rounded, output.low), output.high))
            assert saturated == np.count_nonzero(codes[0] != rounded)


@pytest.mark.parametrize("factors", [(1.0, 1.0), (0.5, 0.75), (1.9, 0.01), (0.3, 1.7)])
def test_add_of_every_pair(factors: tuple[float, float]) -> None:
    first, second = (code.ravel() for code in np.meshgrid(BYTES, BYTES))
    output = carrier(1.0, 8)
    node = make_node("add", first.shape, inputs=("a", "b"))
    arrays = prepare(node, {"a": carrier(factors[0], 8), "b": carrier(factors[1], 8), "y": output})
    shift = 15 - (math.floor(math.log2(max(factors))) + 1)
    a, b = (naive.round_half_up(Fraction(factor) * 2**shift) for factor in factors)
    total = first * a + second * b
    rounded = np.floor_divide(2 * total + 2**shift, 2 ** (shift + 1))
    inputs = [first[None].astype(np.int8), second[None].astype(np.int8)]
    codes, saturated = run_both(node, arrays, inputs, output)
    assert np.array_equal(codes[0], rounded.clip(-128, 127))
    assert saturated == np.count_nonzero((rounded < -128) | (rounded > 127))


@pytest.mark.parametrize("multiplier", [2**14, 21845, 2**15 - 1])
def test_product_of_every_pair(multiplier: int) -> None:
    first, second = (code.ravel() for code in np.meshgrid(BYTES, BYTES))
    output = carrier(1.0, 8)
    node = make_node("product", first.shape, inputs=("a", "b"))
    for shift in (14, 21, 22):
        factor = math.ldexp(multiplier, -shift)
        arrays = prepare(node, {"a": carrier(factor, 8), "b": carrier(1.0, 8), "y": output})
        rounded = np.floor_divide(2 * first * second * multiplier + 2**shift, 2 ** (shift + 1))
        inputs = [first[None].astype(np.int8), second[None].astype(np.int8)]
        codes, saturated = run_both(node, arrays, inputs, output)
        assert np.array_equal(codes[0], rounded.clip(-128, 127))
        assert saturated == np.count_nonzero((rounded < -128) | (rounded > 127))


HALF = Decimal("0.5") + Decimal("1e-12")


@pytest.mark.parametrize("output_bits", [8, 16])
@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("op", GATES)
def test_gates_with_a_full_table(op: str, bits: int, output_bits: int) -> None:
    """``x g(x)`` of every code, rounded and clamped; a float may sit on the other side of a tie."""
    x = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))
    node = make_node(op, x.shape)
    for exponent in (-10, -6, -3):
        source = carrier(2.0**exponent, bits)
        output = carrier(2.0 ** (exponent - output_bits + bits), output_bits)
        codes, _ = run_both(
            node,
            prepare(node, {"x": source, "y": output}),
            [x[None].astype(source.dtype)],
            output,
        )
        ratio = Decimal(source.scale / output.scale)
        for code, found in zip(x.tolist(), codes[0].tolist(), strict=True):
            real = min(max(code * GATES[op](code * source.scale) * ratio, output.low), output.high)
            assert abs(found - real) <= HALF


@pytest.mark.parametrize("scale", [2.0**-7, 0.1, 1.0])
def test_softmax_of_every_pair_and_small_triple(scale: float) -> None:
    """The contract in Python integers; rows with the same distances give the same."""
    source = carrier(scale, 8)
    pairs = np.array(list(product(range(-128, 128), repeat=2)))
    triples = np.array(list(product(range(-8, 8), repeat=3)))
    tables = [[math.floor(math.exp(-scale * step * i) * 2**24 + 0.5) for i in range(16)] for step in (16, 1)]
    for rows in (pairs, triples):
        node = make_node("softmax", rows.shape)
        output = OPERATORS["softmax"].output_format(node, [source], source)
        arrays = prepare(node, {"x": source, "y": output})
        codes, _ = run_both(node, arrays, [rows[None].astype(np.int8)], output)
        found: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
        distances = rows.max(axis=1, keepdims=True) - rows
        for row, shares in zip(distances.tolist(), codes[0].tolist(), strict=True):
            found.setdefault(tuple(row), set()).add(tuple(shares))
        for row, shares in found.items():
            weights = [naive.shifted(tables[0][d // 16] * tables[1][d % 16], 24) for d in row]
            exact = [naive.round_half_up(Fraction(weight * 2**16, sum(weights))) for weight in weights]
            assert shares == {tuple(min(share, 2**16 - 1) for share in exact)}


@pytest.mark.parametrize("op", ["group_norm", "layer_norm"])
def test_norms_of_every_small_row(op: str) -> None:
    """All rows of four codes from -3 to 3, and the ends of 8 bits: the contract in Python integers."""
    rows = np.array([*product(range(-3, 4), repeat=4), *product([-128, 127], repeat=4)])
    source, output = carrier(0.25, 8), carrier(2.0**-6, 8)
    gain, offset = np.array([1.0, -2.0, 0.5, 0.0]), np.array([0.0, 0.25, -1.0, 3.0])
    shape = (4,) if op == "layer_norm" else (4, 1)
    node = make_node(op, shape, parameters={"weight": "g", "bias": "b"}, groups=1, eps=1e-5)
    arrays = prepare(node, {"x": source, "y": output}, parameters={"g": gain, "b": offset})
    x = rows.reshape(-1, *shape).astype(np.int8)
    codes, saturated = run_both(node, arrays, [x], output)
    exact = [Fraction(value) for value in gain.tolist()]
    factor = int(arrays["gain_bits"][0])
    scaled = [naive.round_half_up(value * 2 * 2**6 * Fraction(2) ** factor) for value in exact]
    assert arrays["gain"].ravel().tolist() == scaled
    expected, count = naive.normalize(
        rows[:, :, None],
        22 - 8,
        naive.round_half_up(Fraction(4) * Fraction(1e-5) * 4 ** (22 - 8) * 16),
        np.array([scaled]),
        factor,
        np.array([[naive.round_half_up(Fraction(value) * 2**6 * 2**16) for value in offset.tolist()]]),
        -128,
        127,
    )
    assert np.array_equal(codes.reshape(expected.shape), expected)
    assert saturated == count


@pytest.mark.parametrize("realisation", ["runtime", "fold", "parity"])
@pytest.mark.parametrize(
    ("order", "bits", "signed"), [(1, 8, True), (2, 4, True), (2, 4, False), (3, 2, True)]
)
def test_the_inverse_of_every_block(order: int, bits: int, signed: bool, realisation: str) -> None:
    """Unit weights show the operand of every block of codes; scipy's matrix."""
    n, low = 2**order, -(2 ** (bits - 1)) if signed else 0
    blocks = np.array(list(product(range(low, low + 2**bits), repeat=n)))
    node = make_node(
        "linear",
        (n,),
        parameters={"weight": "w"},
        outputs=n,
        weight_bits=8,
        hadamard_realisation=realisation,
        **transform_attributes(Transform("channel", order, False), 1),
    )
    z = 0 if signed else 5
    source = Format(bits, (1.0,), signed=signed, zero_points=(z,))
    weights = {"w": WeightCodes.of(np.eye(n, dtype=np.int8), np.ones(n), 8)}
    arrays = prepare(node, {"x": source, "y": carrier(1.0)}, weights=weights)
    operator = OPERATORS["linear"]
    assert isinstance(operator, Multiply)
    (sums,), _ = operator.sums_integer(node, arrays, [blocks.astype(source.dtype)])
    assert np.array_equal(sums, (blocks - z) @ hadamard(n, int))
