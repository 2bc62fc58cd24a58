import pandas as pd
import pytest

from hqsim.errors import InputError
from hqsim.report import RunReport
from hqsim.report.energy import energy_chart


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
    with pytest.raises(InputError, match=r"^totals: column 'machine' is missing, got cycles"):
        RunReport(title="x", totals=pd.DataFrame({"cycles": [1]}))
