"""Graph: what it refuses, how it is read, how long results live."""

import json

import pytest

from hqsim.graph import Graph, Node, TensorType


def _node(name, *inputs, shape=(4,), **attributes):
    return Node(name, "op" if inputs else "input", inputs, TensorType(shape), attributes)


DIAMOND = Graph(
    nodes=(
        _node("x"),
        _node("a", "x"),
        _node("b", "a"),
        _node("c", "a"),
        _node("d", "b", "c"),
        _node("e", "d"),
    ),
    output="e",
)


def test_a_name_is_used_once():
    with pytest.raises(ValueError, match=r"^node name 'x' is used twice$"):
        Graph(nodes=(_node("x"), _node("x")), output="x")


def test_a_node_reads_what_is_already_there():
    with pytest.raises(ValueError, match=r"^node 'a' reads \['b'\] before they are computed$"):
        Graph(nodes=(_node("x"), _node("a", "x", "b"), _node("b", "x")), output="b")


def test_a_node_does_not_read_itself():
    with pytest.raises(ValueError, match=r"^node 'a' reads \['a'\] before they are computed$"):
        Graph(nodes=(_node("a", "a"),), output="a")


def test_the_output_is_a_node():
    with pytest.raises(ValueError, match=r"^output 'y' is not a node$"):
        Graph(nodes=(_node("x"),), output="y")


def test_reading():
    assert len(DIAMOND) == 6
    assert [node.name for node in DIAMOND] == list("xabcde")
    assert DIAMOND["c"].inputs == ("a",)
    assert "c" in DIAMOND
    assert "f" not in DIAMOND
    with pytest.raises(KeyError):
        DIAMOND["f"]


def test_consumers_come_in_execution_order():
    assert [node.name for node in DIAMOND.consumers("a")] == ["b", "c"]
    assert DIAMOND.consumers("e") == ()


def test_last_uses():
    """Positions: x 0, a 1, b 2, c 3, d 4, e 5; the output outlives the graph."""
    assert DIAMOND.last_uses == ((), ("x",), (), ("a",), ("b", "c"), ("d",))


def test_a_result_that_nobody_reads_dies_at_once():
    graph = Graph(nodes=(_node("x"), _node("unread", "x"), _node("y", "x")), output="y")
    assert graph.last_uses == ((), ("unread",), ("x",))


@pytest.mark.parametrize(("shape", "elements"), [((), 1), ((7,), 7), ((3, 4, 5), 60), ((3, 0), 0)])
def test_elements_of_one_sample(shape, elements):
    assert TensorType(shape).elements == elements


def test_integer_attributes():
    node = _node("a", "x", stride=2, mode="nearest")
    assert node.integer("stride") == 2
    with pytest.raises(TypeError, match=r"^node 'a': attribute 'mode' is 'nearest', not an integer$"):
        node.integer("mode")
    with pytest.raises(KeyError, match="padding"):
        node.integer("padding")


def test_json_and_back():
    """Tuples, numbers, flags and nothing survive; equal graphs have equal text."""
    node = Node(
        "b",
        "conv2d",
        ("a",),
        TensorType((2, 3)),
        {
            "kernel": (2, 3, 3),
            "factor": 0.5,
            "stride": 1,
            "transpose": True,
            "mode": "nearest",
            "group": None,
        },
        {"weight": "b.weight"},
        "layers.b",
    )
    graph = Graph(nodes=(_node("a"), node), output="b")
    text = json.dumps(graph.to_json())
    found = Graph.from_json(json.loads(text))
    assert found == graph
    assert isinstance(found["b"].attributes["kernel"], tuple)
    assert found["b"].attributes["transpose"] is True
    assert json.dumps(found.to_json()) == text


def test_json_of_another_form():
    record = Graph(nodes=(_node("a"),), output="a").to_json()
    with pytest.raises(ValueError, match=r"^output 'b' is not a node$"):
        Graph.from_json({**record, "output": "b"})
    with pytest.raises(KeyError):
        Graph.from_json({"output": "a", "nodes": [{"name": "a"}]})
