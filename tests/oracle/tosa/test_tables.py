"""TABLE against the gated activations: full tables of narrow codes, interpolation of wide ones."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from hqsim.ops import OPERATORS
from tests.ops.builders import carrier, make_node, prepare
from tests.oracle.tosa import graphs
from tests.oracle.tosa.reference import TosaGraph, TosaReference
from tests.property.gates import GATES


def nearest(x: Decimal) -> int:
    """Rounded half up."""
    return int((x + Decimal("0.5")).to_integral_value("ROUND_FLOOR"))


def gated(op: str, codes: np.ndarray, source, output) -> tuple[np.ndarray, int]:
    node = make_node(op, codes.shape)
    arrays = prepare(node, {"x": source, "y": output})
    result, saturated = OPERATORS[op].integer(node, arrays, [codes[None].astype(source.dtype)], output)
    return result[0], saturated


@pytest.mark.parametrize("log_scale", [-6, -4, -2])
@pytest.mark.parametrize("op", GATES)
def test_full_tables_of_8_bits(op: str, log_scale: int, tosa: TosaReference) -> None:
    """Every code, through a table of exact values."""
    source, output = carrier(2.0**log_scale, 8), carrier(2.0 ** (log_scale - 1), 8)
    codes = np.arange(-128, 128)
    table = [nearest(2 * code * GATES[op](code * source.scale)) for code in codes.tolist()]
    graph = TosaGraph()
    constant = graph.constant(np.clip(table, -128, 127), "INT8")
    graph.add("TABLE", [graph.tensor(codes, "INT8"), constant], codes.shape, "INT8", "TableAttribute")
    (expected,) = tosa.evaluate([graph])
    result, _ = gated(op, codes, source, output)
    assert np.array_equal(result, expected)


def interpolated(entries: list[int], addresses: np.ndarray, tosa: TosaReference) -> np.ndarray:
    """``128 T`` between entries 128 apart; TOSA's entries have 16 bits, so two tables make one of 20."""
    coarse, fine = np.divmod(entries, 2**10)
    requests = []
    for part in (coarse, fine):
        graph = TosaGraph()
        inputs = [graph.tensor(addresses - 2**15, "INT16"), graph.constant(part, "INT16")]
        graph.add("TABLE", inputs, addresses.shape, "INT32", "TableAttribute")
        requests.append(graph)
    high, low = (result.astype(np.int64) for result in tosa.evaluate(requests))
    return high * 2**10 + low


@pytest.mark.parametrize("log_scale", [-11, -12])
@pytest.mark.parametrize("op", GATES)
def test_interpolation_of_16_bits(op: str, log_scale: int, tosa: TosaReference) -> None:
    """Every code: TABLE gives the gate, RESCALE of the product the result.

    At these scales a code times 2 or 1 is its address, so no rounding hides one.
    """
    source, output = carrier(2.0**log_scale), carrier(1.5 * 2.0 ** (log_scale - 1))
    codes = np.arange(-(2**15), 2**15)
    entries = [nearest((1 - GATES[op](i / 32)) * 2**20) for i in range(513)]
    addresses = np.minimum(np.abs(codes) * 2 ** (12 + log_scale), 2**16 - 1)
    small = interpolated(entries, addresses, tosa)
    products = codes * np.where(codes < 0, small, 2**27 - small)
    factor = ([nearest(Decimal(2**15) * 2 / 3)], [14 + 27])
    graph = TosaGraph()
    graphs.rescale(graph, graph.constant(products, "INT48"), ("INT48", "INT32"), codes.shape, factor)
    (expected,) = tosa.evaluate([graph])
    result, saturated = gated(op, codes, source, output)
    assert np.array_equal(result, expected.clip(output.low, output.high))
    assert saturated == np.count_nonzero(expected > output.high) > 0
