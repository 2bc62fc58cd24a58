"""The convolution that a record tells, beside torch's and beside its own implicit GEMM."""

import pytest
import torch

from hqsim.graph import ConvWork, Graph, Node, TensorType
from hqsim.models import load_model
from hqsim.ops.records import layer_records
from hqsim.quantize import load_recipe
from hqsim.quantize.lower import lower, width_formats

RECIPE = load_recipe("ptq-w8a8")


def products(graph, images):
    lowered = lower(graph, RECIPE)
    formats = width_formats(lowered, RECIPE, {})
    found = layer_records(lowered, formats, images=images, guided=False, table_steps=1)
    return [record for record in found if record.matrix]


def test_convolutions_of_a_model_agree_with_their_products():
    records = products(load_model("digits", weights=False).graph, images=3)
    assert {record.op for record in records} == {"conv2d", "linear", "matmul"}
    for record in records:
        work, conv = record.matrix, record.matrix.conv
        assert (conv is not None) == (record.op == "conv2d")
        if conv:
            assert (work.m, work.n) == (conv.batch * conv.out_h * conv.out_w, conv.out_channels)
            assert work.k == conv.kernel_h * conv.kernel_w * conv.in_channels
            pixels = conv.batch * conv.in_channels * conv.in_h * conv.in_w
            assert pixels == sum(use.elements for use in record.inputs)


@pytest.mark.parametrize(("kernel", "stride", "groups"), [((3, 5), 1, 1), ((2, 3), 2, 4), ((1, 1), 3, 2)])
def test_kernel_stride_and_groups(kernel, stride, groups):
    out = torch.nn.Conv2d(8, 12, kernel, stride, groups=groups)(torch.zeros(1, 8, 9, 11)).shape[2:]
    sample = Node("sample", "input", (), TensorType((8, 9, 11)))
    attributes = {"kernel": (12, *kernel), "stride": stride, "padding": (0, 0, 0, 0), "groups": groups}
    conv = Node("conv", "conv2d", ("sample",), TensorType((12, *out)), attributes, {"weight": "w"})
    (record,) = products(Graph((sample, conv), "conv"), images=2)
    assert record.matrix.conv == ConvWork(
        kernel_h=kernel[0],
        kernel_w=kernel[1],
        stride_h=stride,
        stride_w=stride,
        in_h=9,
        in_w=11,
        out_h=out[0],
        out_w=out[1],
        in_channels=8,
        out_channels=12,
        groups=groups,
        batch=2,
    )
