import numpy as np
import pytest

from hqsim.report.details import (
    GROUPS,
    Histogram,
    LayerDetail,
    Profile,
    histogram_table,
    maxima_table,
    save_detail,
)

EDGES = np.array([-2.0, -1.0, 0.0, 1.0, 3.0])


def histogram(counts, transform="none"):
    return Histogram(operand="activation", transform=transform, counts=np.array(counts), edges=EDGES)


def profile(maxima, transform="none"):
    return Profile(
        operand="activation", transform=transform, axis="channel", maxima=np.array(maxima, np.float32)
    )


def test_a_density_is_share_over_width_and_empty_ends_are_cut():
    (chart,) = LayerDetail(
        histograms=(histogram([0, 1, 1, 2]), histogram([0, 0, 4, 0], "recipe"))
    ).histogram_charts()
    assert chart.x.tolist() == [-0.5, 0.5, 2.0]
    assert chart.lines["none"].tolist() == [0.25, 0.25, 0.25]
    assert np.isnan(chart.lines["recipe"][[0, 2]]).all() and chart.lines["recipe"][1] == 1.0


def test_many_channels_are_grouped_by_their_maximum():
    maxima = np.arange(3 * GROUPS - 1)
    size, groups = profile(maxima).grouped()
    assert size == 3 and len(groups) == GROUPS
    assert groups[:2].tolist() == [2, 5] and groups[-1] == maxima[-1]


def test_few_channels_stand_as_they_are():
    size, groups = profile([3, 1, 2]).grouped()
    assert (size, groups.tolist()) == (1, [3, 1, 2])


def test_tables_hold_what_is_drawn():
    detail = LayerDetail(histograms=(histogram([0, 1, 0, 2]),), profiles=(profile(range(65)),))
    bins = histogram_table({"l": detail})
    assert bins[["low", "high", "count"]].to_numpy().tolist() == [[-1, 0, 1], [1, 3, 2]]
    groups = maxima_table({"l": detail})
    assert groups[["first", "last", "maximum"]].to_numpy()[[0, -1]].tolist() == [[0, 1, 1], [64, 64, 64]]


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_a_layers_figure_has_the_same_bytes_every_time(tmp_path, suffix):
    charts = LayerDetail(histograms=(histogram([1, 2, 3, 4]),)).histogram_charts()
    for name in "ab":
        save_detail("$\\bad{", charts, tmp_path / f"{name}.{suffix}")
    first, second = (tmp_path / f"{name}.{suffix}" for name in "ab")
    assert first.read_bytes() == second.read_bytes()
