import pandas as pd
import pytest

from hqsim.errors import InputError
from hqsim.report import RunReport, figures
from hqsim.report.energy import energy_chart
from hqsim.report.figures import save_energy


def test_segments_fill_the_bar_in_proportion():
    totals = pd.DataFrame(
        {
            "machine": ["a", "b"],
            "energy_pj.mac": [1e6, 4e6],
            "energy_pj.dram": [3e6, None],
            "energy_pj.idle": [0.0, 0.0],
        }
    )
    chart = energy_chart(totals)
    assert [part for part, _ in chart.legend] == ["MAC", "DRAM"]
    first, second = chart.bars
    assert [(s.x_percent, s.width_percent) for s in first.segments] == [
        ("0.000", "25.000"),
        ("25.000", "75.000"),
    ]
    assert first.total == "4.00\u2009µJ"
    assert first.segments[1].tooltip == "DRAM: 3.00\u2009µJ, 75.0 %"
    assert [s.width_percent for s in second.segments] == ["100.000", "0.000"]


def test_a_thin_segment_carries_no_text():
    chart = energy_chart(pd.DataFrame({"machine": ["a"], "energy_pj.x": [98.0], "energy_pj.y": [2.0]}))
    assert [segment.text for segment in chart.bars[0].segments] == ["98\u2009%", ""]


@pytest.mark.parametrize(
    "totals", [pd.DataFrame(), pd.DataFrame({"machine": ["a"], "energy_per_image_pj": [3.0]})]
)
def test_no_parts_no_chart(totals):
    assert not energy_chart(totals)


def test_totals_need_the_machines_name():
    with pytest.raises(InputError, match=r"^totals of run 'x': column 'machine' is missing, got cycles"):
        RunReport(name="x", totals=pd.DataFrame({"cycles": [1]}))


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_the_chart_as_a_file(tmp_path, suffix):
    totals = pd.DataFrame({"machine": ["a", "b"], "energy_pj.mac": [1e6, 4e6], "energy_pj.dram": [3e6, 0.0]})
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    save_energy(energy_chart(totals), first)
    save_energy(energy_chart(totals), second)
    assert first.read_bytes() == second.read_bytes()


def test_bars_of_the_figure_are_the_segments(monkeypatch, tmp_path):
    figures_made = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: figures_made.append(figure))
    totals = pd.DataFrame({"machine": ["a"], "energy_pj.mac": [1e6], "energy_pj.dram": [3e6]})
    save_energy(energy_chart(totals), tmp_path / "e.png")
    (axis,) = figures_made[0].axes
    assert [(bar.get_x(), bar.get_width()) for bar in axis.patches] == [(0, 25), (25, 75)]
    assert [text.get_text() for text in axis.texts] == ["25\u2009%", "75\u2009%", "4.00\u2009µJ"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a"]
