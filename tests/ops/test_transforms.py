"""The single Hadamard through the operators: round trip, parity, offline fold, real values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hqsim.numerics import Format, Transform, operand_range
from hqsim.ops import OPERATORS
from hqsim.ops.sums import operand_exact, operand_integer
from tests import naive
from tests.ops.builders import (
    carrier,
    make_codes,
    make_node,
    make_weight,
    prepare,
    run_both,
    transform_attributes,
)

TRANSFORMS = [
    Transform("width", 5, False),
    Transform("width", 2, True),
    Transform("channel", 3, True),
    Transform("channel", 5, False),
]
SHAPE = (64, 3, 32)
SYMMETRIC = {"zero_points": np.zeros(1, np.int64), "operand_range": np.array([[-(2**15), 2**15 - 1]])}
CONV, LINEAR, QUANTIZE = OPERATORS["conv2d"], OPERATORS["linear"], OPERATORS["quantize"]


def signs(transform: Transform) -> list[int]:
    return naive.rudin_shapiro(transform.size) if transform.signs else [1] * transform.size


def block_matrix(transform: Transform, length: int) -> np.ndarray:
    """``diag(signs) H`` in blocks along an axis of ``length``, dense."""
    block = np.diag(signs(transform)) @ np.array(naive.hadamard(transform.size))
    return np.kron(np.eye(length // transform.size, dtype=np.int64), block)


def operands(transform: Transform, codes: np.ndarray) -> np.ndarray:
    """What the multiplier of a convolution sees, by both forms."""
    node = make_node("conv2d", SHAPE, **transform_attributes(transform, 1))
    operand = operand_integer(node, codes, 0, (-32768, 32767)).codes
    assert np.array_equal(operand, operand_exact(node, codes, 0, transform))
    return operand.astype(np.int64)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_inverse_of_forward_is_n_times_the_input(transform: Transform) -> None:
    rng = np.random.default_rng(0)
    node = make_node("quantize", SHAPE, bits=24, **transform_attributes(transform, 1))
    source, unquantized = carrier(0.25), carrier(0.25, 24)
    arrays = prepare(node, {"x": source, "y": unquantized})
    x = rng.integers(-1000, 1001, (2, *SHAPE)).astype(np.int16)
    spread, saturated = run_both(node, arrays, [x], unquantized)
    assert saturated == 0
    assert np.array_equal(operands(transform, spread), transform.size * x.astype(np.int64))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(("bits", "fill"), [(4, "random"), (8, "random"), (4, "ends"), (3, "ends")])
def test_all_outputs_of_a_block_share_parity(transform: Transform, bits: int, fill: str) -> None:
    """NUMERICS.md section 5: ``B = 2 B' + p`` with one bit ``p`` per block."""
    codes = make_codes(np.random.default_rng(0), Format(bits=bits, scales=(1.0,)), (2, *SHAPE), fill)
    operand = operands(transform, codes)
    moved = operand if transform.axis == "width" else np.moveaxis(operand, 1, -1)
    parity = moved.reshape(-1, transform.size) & 1
    assert (parity == parity[:, :1]).all()
    assert set(parity[:, 0]) == {0, 1}
    low, high = operand_range(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, transform.order)
    assert low <= operand.min() <= operand.max() <= high


@pytest.mark.parametrize("transform", [Transform("channel", 3, False), Transform("channel", 5, True)])
def test_linear_inverse_at_run_time_equals_the_offline_fold(transform: Transform) -> None:
    """``(q Hᵀ) W_q == q (Hᵀ W_q)``: N-bit activations beside folded weights."""
    rng = np.random.default_rng(0)
    node = make_node("linear", (7, 9), outputs=9, **transform_attributes(transform, 2))
    codes = make_codes(rng, Format(bits=4, scales=(1.0,)), (2, 7, 64), "random")
    weight = make_weight(rng, (9, 64), 4).codes
    folded = weight.astype(np.int64) @ block_matrix(transform, 64)
    expected = codes.astype(np.int64) @ folded.T
    for wide in (0, 1):
        arrays = {**SYMMETRIC, "weight": weight, "wide": np.array([wide])}
        assert np.array_equal(LINEAR.sums_integer(node, arrays, [codes])[0][0], expected)
    assert np.array_equal(LINEAR.sums_exact(node, arrays, [codes])[0][0], expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_along_channels_a_convolution_folds_too(stride: int) -> None:
    """Zero padding after the inverse: folded weights see zeros of the codes in the same places."""
    rng = np.random.default_rng(0)
    transform = Transform("channel", 3, True)
    codes = make_codes(rng, Format(bits=4, scales=(1.0,)), (2, 16, 5, 6), "random")
    weight = make_weight(rng, (3, 16, 3, 3), 4).codes
    folded = np.einsum("ochw,ck->okhw", weight.astype(np.int64), block_matrix(transform, 16))
    expected = torch.conv2d(
        torch.from_numpy(codes.astype(np.int64)), torch.from_numpy(folded), stride=stride, padding=1
    )
    node = make_node(
        "conv2d",
        tuple(expected.shape[1:]),
        kernel=(3, 3, 3),
        stride=stride,
        padding=(1, 1, 1, 1),
        **transform_attributes(transform, 1),
    )
    arrays = {**SYMMETRIC, "weight": weight, "wide": np.array([0])}
    assert np.array_equal(CONV.sums_integer(node, arrays, [codes])[0][0], expected.numpy())


@pytest.mark.parametrize("transform", [*TRANSFORMS, None])
def test_a_layer_is_the_product_of_the_dequantized_operand(transform: Transform | None) -> None:
    """Codes against the real layer on ``x̂ = ŝ/n signs (q H)``: half a code, and the 15-bit factor."""
    rng = np.random.default_rng(0)
    operand, target = Format(bits=4, scales=(0.07, 0.21)), carrier(0.002)
    weight = make_weight(rng, (5, 64, 3, 3), 4)
    bias = rng.normal(0, 1, 5)
    node = make_node(
        "conv2d",
        (5, 3, 32),
        parameters={"weight": "w", "bias": "b"},
        kernel=(5, 3, 3),
        stride=1,
        padding=(1, 1, 1, 1),
        **transform_attributes(transform, 1),
    )
    codes = make_codes(rng, operand, (1, *SHAPE), "random")
    if transform is None:
        spread, n = codes.astype(np.float64), 1
    elif transform.axis == "width":
        spread, n = codes @ block_matrix(transform, 32).T, transform.size
    else:
        spread, n = np.einsum("bchw,kc->bkhw", codes, block_matrix(transform, 64)), transform.size
    real_weight = torch.from_numpy(weight.codes * weight.scales[:, :, None, None])
    for entry, scale in enumerate(operand.scales):
        arrays = prepare(
            node, {"x": operand, "y": target}, parameters={"b": bias}, weights={"w": weight}, entry=entry
        )
        result, saturated = run_both(node, arrays, [codes], target)
        x = torch.from_numpy(spread * (scale / n))
        ideal = torch.conv2d(x, real_weight, torch.from_numpy(bias), padding=1).numpy() / target.scale
        assert saturated == 0
        assert (np.abs(result - ideal) <= 0.5 + np.abs(ideal) * 2**-15 + 2**-7).all()


@pytest.mark.parametrize("transform", [*TRANSFORMS, None])
def test_fake_quantization_gives_the_same_codes_and_value(transform: Transform | None) -> None:
    """With scales that are powers of two the float simulation is exact in float64."""
    rng = np.random.default_rng(0)
    source, target = carrier(2.0**-10), Format(bits=4, scales=(2.0**1,))
    node = make_node("quantize", SHAPE, bits=4, **transform_attributes(transform, 1))
    x = make_codes(rng, source, (2, *SHAPE), "random")
    codes, saturated = run_both(node, prepare(node, {"x": source, "y": target}), [x], target)
    real = torch.from_numpy(x * source.scale)
    fake_codes, value = QUANTIZE.fake(node, real, target, 0)
    assert np.array_equal(codes, fake_codes.numpy())
    assert saturated > 0
    n = transform.size if transform else 1
    expected = (operands(transform, codes) if transform else codes) * (target.scale / n)
    assert np.array_equal(value.numpy(), expected)
