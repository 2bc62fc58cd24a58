"""The walk: order, inputs, and that a result lives only as long as somebody will read it."""

import weakref

import pytest

from hqsim.graph import Graph, Node, TensorType
from hqsim.graph.walk import walk


class Value:
    """A result that can be watched."""

    def __init__(self, name):
        self.name = name


def _graph(edges, output):
    nodes = [Node(name, "op" if inputs else "input", inputs, TensorType((1,))) for name, inputs in edges]
    return Graph(nodes=tuple(nodes), output=output)


SKIP = _graph(
    [("x", ()), ("a", ("x",)), ("b", ("a",)), ("c", ("b",)), ("d", ("c", "a")), ("e", ("d",))], output="e"
)


def test_nodes_come_in_order_with_their_inputs():
    visits = [
        (visit.node.name, visit.inputs, visit.value)
        for visit in walk(SKIP, {"x": "x"}, lambda node, inputs: f"{node.name}({','.join(inputs)})")
    ]
    assert [name for name, _, _ in visits] == list("abcde")
    assert visits[3] == ("d", ("c(b(a(x)))", "a(x)"), "d(c(b(a(x))),a(x))")


def test_results_die_after_their_last_use():
    """While a node is visited its inputs, its result and what later nodes read are alive, nothing else."""
    alive = weakref.WeakSet()
    seen = {}

    def evaluate(node, inputs):
        value = Value(node.name)
        alive.add(value)
        return value

    for visit in walk(SKIP, {"x": Value("x")}, evaluate):
        seen[visit.node.name] = "".join(sorted(value.name for value in alive))
    assert seen == {"a": "a", "b": "ab", "c": "abc", "d": "acd", "e": "de"}


def test_a_long_chain_holds_two_results():
    names = [f"n{i}" for i in range(50)]
    edges = [("x", ())] + [(name, (before,)) for before, name in zip(["x", *names], names, strict=False)]
    alive = weakref.WeakSet()
    peak = 0

    def evaluate(node, inputs):
        value = Value(node.name)
        alive.add(value)
        return value

    for _ in walk(_graph(edges, names[-1]), {"x": Value("x")}, evaluate):
        peak = max(peak, len(alive))
    assert peak == 2


def test_given_values_stay_with_the_caller():
    given = {"x": Value("x")}
    list(walk(SKIP, given, lambda node, inputs: Value(node.name)))
    assert list(given) == ["x"]


def test_a_missing_input_is_named():
    with pytest.raises(KeyError, match="x"):
        list(walk(SKIP, {}, lambda node, inputs: 0))
