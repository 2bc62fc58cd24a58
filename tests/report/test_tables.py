import math

import numpy as np
import pandas as pd

from hqsim.report.tables import machine_views, table_of


def column(values, name="x"):
    table = table_of(pd.DataFrame({name: values}))
    return table.columns[0], [row[0] for row in table.rows]


def test_numbers_keep_their_exact_value_as_sort_key():
    head, cells = column([0.1 + 0.2, 1e-300, -2.0])
    assert head.numeric
    assert [float(cell.key) for cell in cells] == [0.30000000000000004, 1e-300, -2.0]
    _, cells = column([2**60, 3])
    assert [cell.key for cell in cells] == [str(2**60), "3"]


def test_missing_and_infinite_have_keys_that_a_script_can_read():
    _, cells = column([math.nan, math.inf, -math.inf, 3.0], "sqnr_db")
    assert [cell.key for cell in cells] == ["", "Infinity", "-Infinity", "3.0"]
    assert [cell.text for cell in cells] == ["\u2013", "exact", "\u2212∞", "3.0"]


def test_a_column_without_any_value_stays_what_its_type_says():
    assert column([math.nan, math.nan], "sqnr_db")[0].numeric
    assert not column([None, None])[0].numeric


def test_missing_text_sorts_as_missing():
    _, cells = column(["b", None])
    assert [cell.key for cell in cells] == [None, ""]


def test_any_column_is_shown():
    frame = pd.DataFrame(
        {
            "flags": [True, False],
            "mixed": [1, "one"],
            "pairs": [(-3, 4), None],
            "nothing": [None, None],
            "nullable": pd.array([7, None], dtype="Int64"),
            "when": [pd.Timestamp("2020-01-02"), pd.NaT],
            "kind": pd.Categorical(["a", "b"]),
            "numpy": np.array([np.int8(5), np.float32(0.5)], dtype=object),
            "lists": [[1, 2], {"a": 1}],
        }
    )
    frame[17] = [1.5, math.inf]
    table = table_of(frame)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["yes", "1", "(-3, 4)", "\u2013", "7", "2020-01-02 00:00:00", "a", "5.00", "[1, 2]", "1.50"],
        ["no", "one", "\u2013", "\u2013", "\u2013", "\u2013", "b", "0.50", "{'a': 1}", "∞"],
    ]
    numeric = {head.name.raw for head in table.columns if head.numeric}
    assert numeric == {"nullable", "numpy", "17"}


def test_two_columns_of_one_name_are_both_shown():
    table = table_of(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    assert [cell.text for cell in table.rows[0]] == ["1", "2"]


def test_an_empty_frame_is_a_false_table():
    assert not table_of(pd.DataFrame())
    assert not table_of(pd.DataFrame(columns=["a"]))


def test_each_machine_gets_its_columns_under_the_layers_names():
    frame = pd.DataFrame(
        [["conv_in", "conv2d", 8, 10, 0.5, 20]],
        columns=["layer", "op", "bits", "cycles[a]", "utilization[a]", "cycles[b]"],
    )
    views = machine_views(table_of(frame))
    assert [(view.title, [head.name.raw for head in view.table.columns]) for view in views] == [
        ("numerics", ["layer", "op", "bits"]),
        ("a", ["layer", "op", "cycles[a]", "utilization[a]"]),
        ("b", ["layer", "op", "cycles[b]"]),
    ]


def test_bars_show_the_share_of_the_largest_value():
    _, cells = column([25, 100, 0, None], "cycles[a]")
    assert [cell.share_percent for cell in cells] == [25.0, 100.0, 0.0, None]
    _, cells = column([25, 100, -1], "cycles[a]")
    assert [cell.share_percent for cell in cells] == [None, None, None]


def test_first_click_puts_the_worst_on_top():
    assert column([1.0], "sqnr_db")[0].worst_first == "ascending"
    assert column([1.0], "energy_pj[a]")[0].worst_first == "descending"
    assert column(["b"], "op")[0].worst_first == "ascending"
