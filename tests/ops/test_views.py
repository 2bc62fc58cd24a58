"""Rearrangements move codes and nothing else; the float forms agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hqsim.graph import Graph, Node, TensorType, TensorUse
from hqsim.numerics import Format
from hqsim.ops import OPERATORS, WorkContext
from tests.ops.builders import carrier, make_codes, make_node, run_both

SHAPE = (3, 4, 5)
NODES = [
    make_node("reshape", (12, 5)),
    make_node("reshape", (60,)),
    make_node("permute", (5, 3, 4), order=(0, 3, 1, 2)),
    make_node("permute", (4, 3, 5), order=(0, 2, 1, 3)),
    make_node("slice", (2, 4, 5), axis=1, start=1, stop=3),
    make_node("slice", (3, 4, 1), axis=3, start=4, stop=5),
    make_node("upsample_nearest", (3, 8, 10), factor=2),
    make_node("upsample_nearest", (3, 12, 15), factor=3),
]


@pytest.mark.parametrize("node", NODES, ids=lambda node: f"{node.op}-{node.type.shape}")
@pytest.mark.parametrize("source", [carrier(0.1), Format(bits=16, scales=(0.1,), signed=False)])
def test_codes_move_as_in_torch(node: Node, source: Format) -> None:
    operator = OPERATORS[node.op]
    output = operator.output_format(node, [source], carrier(99.0))
    assert output == source
    x = make_codes(np.random.default_rng(0), source, (2, *SHAPE), "random")
    codes, saturated = run_both(node, {}, [x], output)
    moved = operator.evaluate(node, [torch.from_numpy(x.astype(np.float64))], {})
    assert np.array_equal(codes, moved.numpy())
    assert saturated == 0


def test_nearest_upsample_repeats_pixels() -> None:
    x = np.array([[[[1, 2], [3, 4]]]], np.int16)
    codes, _ = run_both(make_node("upsample_nearest", (1, 4, 4), factor=2), {}, [x], carrier(1.0))
    assert codes[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


@pytest.mark.parametrize("node", NODES, ids=lambda node: f"{node.op}-{node.type.shape}")
def test_any_memory_layout_is_taken(node: Node) -> None:
    x = make_codes(np.random.default_rng(0), carrier(0.1), (2, 4, 5, 3), "random").transpose(0, 3, 1, 2)
    codes, _ = run_both(node, {}, [x], carrier(0.1))
    plain, _ = run_both(node, {}, [np.ascontiguousarray(x)], carrier(0.1))
    assert np.array_equal(codes, plain)


def test_upsampling_leaves_pixels_whole() -> None:
    x = np.zeros((2, 4, 5, 3), np.int16).transpose(0, 3, 1, 2)
    codes, _ = run_both(make_node("upsample_nearest", (3, 8, 10), factor=2), {}, [x], carrier(0.1))
    assert codes.transpose(0, 2, 3, 1).flags.c_contiguous


def test_views_cost_nothing() -> None:
    views = [name for name, operator in OPERATORS.items() if operator.is_view]
    assert views == ["permute", "reshape", "scale", "slice"]


def test_a_part_of_a_tensor_is_read_as_a_part() -> None:
    """The other half of a GEGLU input is another read."""
    whole = Node("x", "input", (), TensorType((6, 8)))
    part = Node("p", "slice", ("x",), TensorType((6, 4)), {"axis": 2, "start": 4, "stop": 8})
    context = WorkContext(Graph((whole, part), "p"), {"x": carrier(1.0), "p": carrier(1.0)}, 3, {})
    assert context.uses["p"] == TensorUse(name="x", elements=3 * 6 * 4, bits=16)
    assert OPERATORS["slice"].record(part, context) is None
