import numpy as np
import pandas as pd

from hqsim.report import ratios
from hqsim.report.ratios import ratio_text, save_ratios


def test_every_ratio_is_written_in_its_cell(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(ratios, "save_figure", lambda figure, path: figures.append(figure))
    frame = pd.DataFrame({"none": [1.0, 1.0], "parity": [13.44, np.nan]}, index=["fast", "slow"])
    save_ratios([("one", frame), ("two", frame), ("three", frame)], tmp_path / "r.png")
    shown = [axis for axis in figures[0].axes if axis.get_visible()]
    assert [axis.get_title(loc="left") for axis in shown] == ["one", "two", "three"]
    cells = {text.get_position(): text.get_text() for text in shown[0].texts}
    assert cells == {(0, 0): "1.00", (1, 0): "13.4", (0, 1): "1.00", (1, 1): "\u2013"}
    assert [label.get_text() for label in shown[0].get_yticklabels()] == ["fast", "slow"]


def test_a_file_is_written(tmp_path):
    save_ratios([("one", pd.DataFrame({"a": [0.5]}, index=["m"]))], tmp_path / "r.pdf")
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF")


def test_ratios_have_three_digits():
    assert [ratio_text(value) for value in (1, 9.994, 9.996, 33.44)] == ["1.00", "9.99", "10.0", "33.4"]
