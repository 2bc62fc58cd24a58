"""The very kernels of the executor against ONNX Runtime and torch.

onnxruntime 1.31 ``MatMulInteger`` and ``ConvInteger`` (https://onnx.ai/onnx/operators/, opset 10), and torch
2.13 ``torch._int_mm`` and ``conv2d`` on int64.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, checker, helper

from hqsim.kernels.conv import conv2d_accumulate
from hqsim.kernels.gemm import matmul_accumulate

TYPES = {np.dtype(np.int8): TensorProto.INT8, np.dtype(np.uint8): TensorProto.UINT8}
CONVOLUTIONS = [
    # channels, height, width, outputs, kernel, stride, (top, left, bottom, right)
    (32, 9, 7, 13, 3, 1, (1, 1, 1, 1)),
    (16, 8, 8, 6, 3, 2, (0, 0, 1, 1)),
    (24, 6, 5, 10, 1, 1, (0, 0, 0, 0)),
    (3, 11, 10, 4, 5, 2, (2, 1, 0, 3)),
]


def run_onnx(op: str, a: np.ndarray, b: np.ndarray, **attributes: object) -> np.ndarray:
    """Run one ONNX integer operator, zero points absent (zero)."""
    values = [helper.make_tensor_value_info(n, TYPES[x.dtype], x.shape) for n, x in (("a", a), ("b", b))]
    result = helper.make_tensor_value_info("y", TensorProto.INT32, [None] * a.ndim)
    node = helper.make_node(op, ["a", "b"], ["y"], **attributes)
    opset = helper.make_opsetid("", 21)
    model = helper.make_model(
        helper.make_graph([node], "g", values, [result]), opset_imports=[opset], ir_version=10
    )
    checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (output,) = session.run(None, {"a": a, "b": b})
    return output


def kernel_matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    sums = np.empty((a.shape[0], a.shape[1], b.shape[2]), np.int32)
    matmul_accumulate(a.astype(np.int16), b.astype(np.int16), sums)
    return sums


def kernel_conv(
    x: np.ndarray, weight: np.ndarray, stride: int, padding: tuple[int, int, int, int], dtype: type
) -> np.ndarray:
    outputs, _, kh, kw = weight.shape
    top, left, bottom, right = padding
    height = (x.shape[2] + top + bottom - kh) // stride + 1
    width = (x.shape[3] + left + right - kw) // stride + 1
    sums = np.empty((x.shape[0], outputs, height * width), dtype)
    rows = weight.reshape(outputs, -1).astype(np.int16)
    conv2d_accumulate(x.astype(np.int16), rows, (kh, kw), stride, (top, left), width, sums)
    return sums.reshape(x.shape[0], outputs, height, width)


def codes(dtype: type, shape: tuple[int, ...], fill: str) -> np.ndarray:
    """Random codes, or the extreme one everywhere."""
    limits = np.iinfo(dtype)
    if fill == "random":
        return np.random.default_rng(0).integers(limits.min, limits.max + 1, shape).astype(dtype)
    return np.full(shape, getattr(limits, fill), dtype)


@pytest.mark.parametrize("fill", ["random", "min", "max"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize(("count", "m", "k", "n"), [(1, 17, 33, 9), (3, 5, 8640, 2), (2, 32, 64, 140)])
def test_matmul_integer(count: int, m: int, k: int, n: int, dtype: type, fill: str) -> None:
    a, b = codes(dtype, (count, m, k), fill), codes(np.int8, (count, k, n), fill)
    assert np.array_equal(kernel_matmul(a, b), run_onnx("MatMulInteger", a, b))


@pytest.mark.parametrize("fill", ["random", "min", "max"])
@pytest.mark.parametrize("shape", [(32, 64, 32), (17, 8640, 8)])
def test_torch_int_mm(shape: tuple[int, int, int], fill: str) -> None:
    m, k, n = shape
    a, b = codes(np.int8, (m, k), fill), codes(np.int8, (k, n), fill)
    expected = torch._int_mm(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert np.array_equal(kernel_matmul(a[None], b[None])[0], expected)


@pytest.mark.parametrize("fill", ["random", "min", "max"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize(
    ("channels", "height", "width", "outputs", "kernel", "stride", "padding"), CONVOLUTIONS
)
def test_conv_integer(channels, height, width, outputs, kernel, stride, padding, dtype, fill) -> None:
    """ONNX Runtime's CPU ConvInteger takes unsigned activations beside unsigned or signed weights."""
    x = codes(np.uint8, (2, channels, height, width), fill)
    weight = codes(dtype, (outputs, channels, kernel, kernel), fill)
    expected = run_onnx("ConvInteger", x, weight, pads=list(padding), strides=[stride, stride])
    assert np.array_equal(kernel_conv(x, weight, stride, padding, np.int32), expected)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize(
    ("channels", "height", "width", "outputs", "kernel", "stride", "padding"), CONVOLUTIONS
)
def test_torch_conv2d_on_int64(channels, height, width, outputs, kernel, stride, padding, dtype) -> None:
    """Operands of a W8A4 single Hadamard of order 5, as wide as the int32 sums allow, and full int16."""
    reach = 240 if dtype is np.int32 else 32767
    rng = np.random.default_rng(1)
    x = rng.integers(-reach - 1, reach + 1, (2, channels, height, width))
    weight = rng.integers(-127, 128, (outputs, channels, kernel, kernel))
    top, left, bottom, right = padding
    padded = torch.nn.functional.pad(torch.from_numpy(x), (left, right, top, bottom))
    expected = torch.nn.functional.conv2d(padded, torch.from_numpy(weight), stride=stride).numpy()
    assert np.array_equal(kernel_conv(x, weight, stride, padding, dtype), expected)
