"""The parts that are reconstructed one after the other."""

from __future__ import annotations

import pytest

from hqsim.graph import Graph, Node, TensorType
from hqsim.models import load_model
from hqsim.quantize import load_recipe
from hqsim.quantize.lower import lower
from hqsim.train.units import TEMPORAL, reconstruction_units


@pytest.fixture(scope="module", params=["tiny", "ldm4-imagenet", "dit-xl-2"])
def lowered(request, tiny_model):
    graph = tiny_model.graph if request.param == "tiny" else load_model(request.param, weights=False).graph
    return lower(graph, load_recipe("tfmq-w4a8"))


def test_every_node_is_in_one_unit(lowered):
    inside = [node.name for unit in reconstruction_units(lowered) for node in unit.part if node.op != "input"]
    assert sorted(inside) == sorted(node.name for node in lowered if node.op != "input")


def test_a_unit_reads_what_earlier_ones_computed(lowered):
    known = {node.name for node in lowered if node.op == "input"}
    for unit in reconstruction_units(lowered):
        assert set(unit.inputs) <= known
        known |= set(unit.outputs)
    assert lowered.output in known


def test_units_are_the_blocks_of_the_model(tiny_model):
    units = reconstruction_units(lower(tiny_model.graph, load_recipe("tfmq-w4a8")))
    names = [unit.name for unit in units if unit.weights]
    assert TEMPORAL in names
    assert [name for name in names if name != TEMPORAL] == [
        "conv_in",
        "down_blocks.0.resnets.0",
        "down_blocks.0.downsamplers.0",
        "down_blocks.1.resnets.0",
        "down_blocks.1.attentions.0",
        "mid_block.resnets.0",
        "mid_block.attentions.0",
        "mid_block.resnets.1",
        "up_blocks.0.resnets.0",
        "up_blocks.0.attentions.0",
        "up_blocks.0.resnets.1",
        "up_blocks.0.attentions.1",
        "up_blocks.0.upsamplers.0",
        "up_blocks.1.resnets.0",
        "up_blocks.1.resnets.1",
        "conv_out",
    ]
    attention = next(unit for unit in units if unit.name == "mid_block.attentions.0")
    assert attention.weights == tuple(
        f"mid_block.attentions.0.{name}.weight" for name in ("to_q", "to_k", "to_v", "to_out.0")
    )


def test_a_layer_outside_of_blocks_is_a_unit_of_its_own():
    shape = TensorType((4,))
    nodes = (
        Node("sample", "input", (), shape),
        Node("a", "silu", ("sample",), shape, module="a"),
        Node("b", "add", ("a", "sample"), shape),
    )
    assert [(unit.name, unit.inputs, unit.outputs) for unit in reconstruction_units(Graph(nodes, "b"))] == [
        ("a", ("sample",), ("a",)),
        ("b", ("sample", "a"), ("b",)),
    ]
