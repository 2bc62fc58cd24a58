"""The roofline of an estimate: points from its layers, ceilings from its machine's multipliers."""

import dataclasses
import math

import pytest

from hqsim.analysis.roofline import peak_ops_per_s, roofline_panel
from hqsim.cost import estimate_records
from hqsim.cost.machine import NativeWidth
from tests.cost.builders import elementwise, linear, matrix_unit, toy_hardware


def test_points_are_the_layers_with_a_product():
    records = [linear("a", order=5, k=32), elementwise("n", ("a.out",)), linear("b", order=0)]
    estimate = estimate_records(records, toy_hardware())
    panel = roofline_panel(estimate)
    assert (panel.machine, [point.layer for point in panel.points]) == ("toy", ["a", "b"])
    assert panel.bytes_per_s == 4e9
    first, second = estimate.costs[0], panel.points[1]
    point = panel.points[0]
    assert point.ops_per_s == pytest.approx(2 * first.macs / (first.cycles * 1e-9))
    assert point.ops_per_byte == pytest.approx(2 * first.macs / first.dram_bytes)
    assert point.kind == "linear"
    whole = sum(cost.cycles for cost in estimate.costs)
    assert (point.time_share, second.time_share) == pytest.approx(
        (first.cycles / whole, estimate.costs[2].cycles / whole)
    )


def test_both_widths_have_a_ceiling():
    panel = roofline_panel(estimate_records([linear(k=32, order=5)], toy_hardware()))
    # 2 x 2 cells at 1 GHz, two operations each; 9 bits take two passes over 8-bit multipliers.
    assert {ceiling.label: ceiling.ops_per_s for ceiling in panel.ceilings} == {
        "4 x 4 bit": 8e9,
        "9 x 4 bit": 4e9,
    }


def test_equal_ceilings_are_one():
    panel = roofline_panel(estimate_records([linear(order=2)], toy_hardware()))
    assert [ceiling.label for ceiling in panel.ceilings] == ["4 x 4 and 6 x 4 bit"]


def test_the_widths_of_most_multiplications_count():
    records = [linear("big", m=100, order=0), linear("small", order=0, a_bits=8, w_bits=8)]
    panel = roofline_panel(estimate_records(records, toy_hardware()))
    assert [ceiling.label for ceiling in panel.ceilings] == ["4 x 4 bit"]


def test_no_point_lies_above_the_roof():
    records = [linear(f"l{m}x{n}", n=n, m=m, order=0) for n in (1, 4, 9) for m in (1, 7, 64)]
    panel = roofline_panel(estimate_records(records, toy_hardware()))
    peak = max(ceiling.ops_per_s for ceiling in panel.ceilings)
    for point in panel.points:
        assert point.ops_per_s <= min(peak, point.ops_per_byte * panel.bytes_per_s)


def test_a_layer_without_dram_traffic_is_infinitely_intense():
    estimate = estimate_records([linear()], toy_hardware())
    quiet = dataclasses.replace(estimate, costs=(dataclasses.replace(estimate.costs[0], dram_bytes=0.0),))
    assert roofline_panel(quiet).points[0].ops_per_byte == math.inf


def test_the_fastest_unit_makes_the_peak_and_a_width_without_rule_has_none():
    fast = matrix_unit(
        name="fast", native=(NativeWidth(a_bits=4, w_bits=4, rate=3.0),), other_widths="unsupported"
    )
    hardware = toy_hardware(matrix=(matrix_unit(), fast))
    assert peak_ops_per_s(hardware, 4, 4) == 3 * 8e9
    assert peak_ops_per_s(hardware, 8, 8) == 8e9
    assert peak_ops_per_s(toy_hardware(matrix=(fast,)), 8, 8) == 0.0
