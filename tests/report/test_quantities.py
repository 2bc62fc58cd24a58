import math

import pytest

from hqsim.report.quantities import ColumnName, Quantity, reading, short_name


@pytest.mark.parametrize(
    ("raw", "label", "unit", "machine"),
    [
        ("sqnr_db", "SQNR", "db", None),
        ("energy_pj[edge-npu-16x16]", "energy", "pj", "edge-npu-16x16"),
        ("energy_pj.dram[tpu-v4i]", "energy DRAM", "pj", "tpu-v4i"),
        ("latency_s_per_image", "latency per image", "s", None),
        ("latency_per_step_s", "latency per step", "s", None),
        ("weight_bits", "weight bits", None, None),
        ("status", "status", None, None),
        ("bound_by[a[0]]", "bound by", None, "a[0]"),
        ("", "", None, None),
        ("_", "_", None, None),
        ("[x]", "[x]", None, None),
    ],
)
def test_a_column_name_is_taken_apart(raw, label, unit, machine):
    name = ColumnName.parse(raw)
    assert (name.raw, name.label, name.unit, name.machine) == (raw, label, unit, machine)


@pytest.mark.parametrize(
    ("values", "unit", "texts", "shown_unit"),
    [
        ([2_500_000.0, 1_000_000.0], "pj", ["2.50", "1.00"], "µJ"),
        ([0.0087, 0.000094], "s", ["8.700", "0.094"], "ms"),
        ([1536, 2048], "bytes", ["1.50", "2.00"], "KiB"),
        ([12, 900], "bytes", ["12", "900"], "B"),
        ([48.25, 3.0], "db", ["48.2", "3.0"], "dB"),
        ([0, 1234567], None, ["0", "1,234,567"], ""),
        ([2**53 + 1], None, ["9,007,199,254,740,993"], ""),
        ([0.613, 0.042], None, ["0.613", "0.042"], ""),
        ([-0.5, 0.25], None, ["\u22120.500", "0.250"], ""),
        ([1e-9, 2e-9], None, ["1e\u221209", "2e\u221209"], ""),
        ([0.0, 0.0], "s", ["0", "0"], "s"),
        (
            [100.0, 0.0001, 200.0, 300.0, 150.5],
            None,
            ["100.0000", "0.0001", "200.0000", "300.0000", "150.5000"],
            "",
        ),
    ],
)
def test_one_scale_and_precision_per_column(values, unit, texts, shown_unit):
    quantity = Quantity.of(values, unit)
    assert [quantity.text(value) for value in values] == texts
    assert quantity.unit == shown_unit


def test_what_rounds_to_zero_is_not_shown_as_zero():
    quantity = Quantity("", 1.0, 2)
    assert quantity.text(0.001) == "<\u20090.01"
    assert quantity.text(-0.001) == ">\u2009\u22120.01"
    assert quantity.text(0.0) == "0.00"


def test_missing_exact_and_infinite():
    decibel = Quantity.of([40.0], "db")
    assert decibel.text(math.nan) == "\u2013"
    assert decibel.text(math.inf) == "exact"
    assert decibel.text(-math.inf) == "\u2212∞"
    assert Quantity.of([1.5], None).text(math.inf) == "∞"


def test_a_long_name_keeps_its_two_ends():
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0"
    short = short_name(name)
    assert len(short) == 40
    assert short.startswith("down_blocks.1") and short.endswith("attn1.to_out.0")
    assert short_name("conv_in") == "conv_in"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(13.4, "s", "13.4 s"), (2.78e12, "pj", "2.78 J"), (1e9, "pj", "1.00 mJ"), (0.0123, "s", "12.3 ms")],
)
def test_one_figure_for_reading(value, unit, text):
    assert reading(value, unit) == text
