"""Rearrangements move codes and nothing else; the float forms agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hqsim.graph import Node
from hqsim.numerics import Format
from hqsim.ops import OPERATORS
from tests.ops.builders import carrier, make_codes, make_node, run_both

SHAPE = (3, 4, 5)
NODES = [
    make_node("reshape", (12, 5)),
    make_node("reshape", (60,)),
    make_node("permute", (5, 3, 4), order=(0, 3, 1, 2)),
    make_node("permute", (4, 3, 5), order=(0, 2, 1, 3)),
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


def test_views_cost_nothing() -> None:
    assert [name for name, operator in OPERATORS.items() if operator.is_view] == ["permute", "reshape"]
