"""Products of the integer executor against ONNX Runtime and torch.

onnxruntime 1.31 ``MatMulInteger`` and ``ConvInteger`` (https://onnx.ai/onnx/operators/, opset 10), and torch
2.13 ``torch._int_mm`` and ``conv2d`` on int64.

ONNX Runtime gets every operand as uint8 with a zero-point. Its kernels for uint8 times int8 saturate
intermediate sums in 16 bits on CPUs with AVX2 and no VNNI; those for uint8 times uint8 are exact everywhere.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, checker, helper
from scipy.linalg import hadamard

from hqsim.numerics import Format, Transform
from tests.oracle.layers import Padding, check_sums, codes, conv_node, linear_node, matmul_node, operand

CONVOLUTIONS = [
    # channels, height, width, outputs, kernel, stride, (top, left, bottom, right), groups
    (32, 9, 7, 13, 3, 1, (1, 1, 1, 1), 1),
    (16, 8, 8, 6, 3, 2, (0, 0, 1, 1), 1),
    (24, 6, 5, 10, 1, 1, (0, 0, 0, 0), 1),
    (3, 11, 10, 4, 5, 2, (2, 1, 0, 3), 1),
    (12, 7, 9, 8, 3, 1, (1, 1, 1, 1), 4),
    (6, 8, 8, 6, 3, 2, (0, 1, 1, 0), 6),
]
REAL_CONVOLUTIONS = [
    # layers of the LDM-4 model, on a smaller picture where it would take long
    (192, 32, 32, 192, 3, 1, (1, 1, 1, 1), 1),
    (384, 16, 16, 384, 3, 2, (0, 0, 1, 1), 1),
    (1920, 8, 8, 96, 1, 1, (0, 0, 0, 0), 1),
    (960, 8, 8, 96, 3, 1, (1, 1, 1, 1), 1),
]
SIGNED = operand()
SOURCES = [SIGNED, *(operand(signed=False, zero_point=z) for z in (0, 77, 255))]
SOURCE_NAMES = ["signed", "unsigned", "z=77", "z=255"]
FILLS = [("random", "random"), ("low", "low"), ("low", "high"), ("high", "low"), ("high", "high")]
CONVOLUTION = ("channels", "height", "width", "outputs", "kernel", "stride", "padding", "groups")


def run_onnx(op: str, a: np.ndarray, b: np.ndarray, source: Format, **attributes: object) -> np.ndarray:
    """Run one ONNX integer operator on codes ``a`` of a format and signed codes ``b``, both of 8 bits."""
    offset = 128 if source.signed else 0
    feed = {"a": (a + offset).astype(np.uint8), "b": (b + 128).astype(np.uint8)}
    zeros = {"za": source.zero_points[0] + offset, "zb": 128}
    inputs = [helper.make_tensor_value_info(n, TensorProto.UINT8, x.shape) for n, x in feed.items()]
    result = helper.make_tensor_value_info("y", TensorProto.INT32, [None] * a.ndim)
    constants = [helper.make_tensor(n, TensorProto.UINT8, [], [zero]) for n, zero in zeros.items()]
    node = helper.make_node(op, ["a", "b", "za", "zb"], ["y"], **attributes)
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, [result], constants),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (output,) = session.run(None, feed)
    return output


def check_convolution(
    x: np.ndarray, weight: np.ndarray, stride: int, padding: Padding, groups: int, source: Format
) -> None:
    attributes = {"pads": list(padding), "strides": [stride, stride], "group": groups}
    expected = run_onnx("ConvInteger", x, weight, source, **attributes)
    check_sums(expected, conv_node(x, weight, stride, padding), [x], [source], weight)


@pytest.mark.parametrize("fills", FILLS)
@pytest.mark.parametrize("source", SOURCES[:2], ids=SOURCE_NAMES[:2])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize(("heads", "m", "k", "n"), [(1, 17, 33, 9), (3, 5, 8640, 2), (2, 32, 64, 140)])
def test_attention_products(heads, m, k, n, transpose_b, source, fills) -> None:
    """Signed operands, and probabilities times values."""
    a = codes(source.low, source.high, (2, heads, m, k), fills[0])
    b = codes(-128, 127, (2, heads, k, n), fills[1], seed=1)
    ours = b.swapaxes(-1, -2) if transpose_b else b
    expected = run_onnx("MatMulInteger", a, b, source)
    check_sums(expected, matmul_node(a, ours, transpose_b=transpose_b), [a, ours], [source, SIGNED])


@pytest.mark.parametrize("fills", FILLS)
@pytest.mark.parametrize("source", SOURCES, ids=SOURCE_NAMES)
@pytest.mark.parametrize(("m", "k", "n"), [(1, 8640, 7), (65, 130, 67)])
def test_linear_layers(m, k, n, source, fills) -> None:
    x = codes(source.low, source.high, (m, k), fills[0])
    weight = codes(-127, 127, (n, k), fills[1], seed=1)
    expected = run_onnx("MatMulInteger", x, weight.T, source)
    check_sums(expected, linear_node(x, weight), [x], [source], weight)


@pytest.mark.parametrize("fills", FILLS)
@pytest.mark.parametrize("shape", [(32, 64, 32), (17, 8640, 8), (256, 320, 320)])
def test_linear_layers_against_int_mm(shape, fills) -> None:
    m, k, n = shape
    x, weight = codes(-128, 127, (m, k), fills[0]), codes(-127, 127, (n, k), fills[1], seed=1)
    left, right = (torch.from_numpy(np.ascontiguousarray(z, np.int8)) for z in (x, weight.T))
    expected = torch._int_mm(left, right).numpy()
    check_sums(expected, linear_node(x, weight), [x], [SIGNED], weight)


@pytest.mark.parametrize("fills", FILLS)
@pytest.mark.parametrize("source", SOURCES, ids=SOURCE_NAMES)
@pytest.mark.parametrize(CONVOLUTION, CONVOLUTIONS)
def test_convolutions(
    channels, height, width, outputs, kernel, stride, padding, groups, source, fills
) -> None:
    """Padding is real zero: codes at the zero-point."""
    x = codes(source.low, source.high, (2, channels, height, width), fills[0])
    weight = codes(-127, 127, (outputs, channels // groups, kernel, kernel), fills[1], seed=1)
    check_convolution(x, weight, stride, padding, groups, source)


@pytest.mark.parametrize("source", SOURCES[::2], ids=SOURCE_NAMES[::2])
@pytest.mark.parametrize(CONVOLUTION, REAL_CONVOLUTIONS)
def test_real_convolutions(channels, height, width, outputs, kernel, stride, padding, groups, source) -> None:
    x = codes(source.low, source.high, (1, channels, height, width), "random")
    weight = codes(-127, 127, (outputs, channels // groups, kernel, kernel), "random", seed=1)
    check_convolution(x, weight, stride, padding, groups, source)


@pytest.mark.parametrize("fill", ["random", "low", "high"])
@pytest.mark.parametrize("axis", ["channel", "width"])
@pytest.mark.parametrize(("bits", "order"), [(16, 0), (8, 5), (4, 3), (4, 5), (4, 6)])
@pytest.mark.parametrize(CONVOLUTION, [CONVOLUTIONS[1], CONVOLUTIONS[4]])
def test_wide_operands_of_convolutions(
    channels, height, width, outputs, kernel, stride, padding, groups, bits, order, axis, fill
) -> None:
    """int16 codes, and what an inverse transform makes of 8 and 4 bits; scipy's matrix."""
    n = 1 << order
    channels, width = (channels * n, width) if axis == "channel" else (channels, width * n)
    high = 2 ** (bits - 1) - 1
    q = codes(-high - 1, high, (2, channels, height, width), fill)
    weight = codes(-127, 127, (outputs, channels // groups, kernel, kernel), "random", seed=1)
    position = 1 if axis == "channel" else 3
    moved = np.moveaxis(q, position, -1)
    x = np.moveaxis((moved.reshape(-1, n) @ hadamard(n, int)).reshape(moved.shape), -1, position)
    top, left, bottom, right = padding
    padded = torch.nn.functional.pad(torch.from_numpy(x), (left, right, top, bottom))
    expected = torch.nn.functional.conv2d(padded, torch.from_numpy(weight), stride=stride, groups=groups)
    node = conv_node(q, weight, stride, padding, Transform(axis, order, False) if order else None)
    check_sums(expected.numpy(), node, [q], [operand(bits)], weight)


@pytest.mark.parametrize("fill", ["random", "low", "high"])
@pytest.mark.parametrize(("bits", "order"), [(16, 0), (8, 5), (4, 5)])
def test_wide_operands_of_linear_layers(bits: int, order: int, fill: str) -> None:
    """K = 8640, where W8A8 of order 5 does not fit int32."""
    high = 2 ** (bits - 1) - 1
    q = codes(-high - 1, high, (3, 8640), fill)
    weight = codes(-127, 127, (5, 8640), "high" if fill == "high" else "random", seed=1)
    x = (q.reshape(3, -1, 1 << order) @ hadamard(1 << order, int)).reshape(q.shape)
    transform = Transform("channel", order, False) if order else None
    expected = torch.from_numpy(x) @ torch.from_numpy(weight).T
    check_sums(expected.numpy(), linear_node(q, weight, transform), [q], [operand(bits)], weight)
