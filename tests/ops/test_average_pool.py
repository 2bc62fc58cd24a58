"""Average pooling: integer == exact in both layouts, and within half a code of the mean."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hqsim.ops import OPERATORS
from tests.ops.builders import FILLS, carrier, make_codes, make_node, prepare, run_both

SMALL = st.integers(1, 4)


@given(
    st.integers(0, 2**32),
    st.tuples(SMALL, SMALL, SMALL),
    st.sampled_from([1, 2, 4]),
    st.integers(0, 3),
    st.sampled_from([8, 12, 16]),
    st.sampled_from(FILLS),
    st.booleans(),
)
def test_integer_exact_and_mean(seed, shape, factor, remainder, bits, fill, channels_last) -> None:
    channels, height, width = shape
    source = carrier(0.1, bits)
    node = make_node("average_pool", shape, factor=factor)
    assert OPERATORS["average_pool"].output_format(node, [source], carrier(9.0)) == source
    size = (2, height * factor + remainder % factor, width * factor, channels)
    x = make_codes(np.random.default_rng(seed), source, size, fill).transpose(0, 3, 1, 2)
    given_x = x if channels_last else np.ascontiguousarray(x)
    codes, saturated = run_both(node, prepare(node, {"x": source, "y": source}), [given_x], source)
    assert saturated == 0
    mean = OPERATORS["average_pool"].evaluate(node, [torch.from_numpy(x.astype(np.float64))], {})
    assert np.array_equal(codes, np.floor(mean.numpy() + 0.5))


def test_work_is_one_addition_per_pixel() -> None:
    from hqsim.graph import Graph, Node, TensorType
    from hqsim.ops import WorkContext

    source = Node("x", "input", (), TensorType((3, 8, 8)))
    node = make_node("average_pool", (3, 4, 4), factor=2)
    formats = {"x": carrier(1.0), "y": carrier(1.0)}
    context = WorkContext(Graph((source, node), "y"), formats, 2, {})
    record = OPERATORS["average_pool"].record(node, context)
    assert record is not None
    assert record.vector == {"add": 2 * 3 * 8 * 8}
