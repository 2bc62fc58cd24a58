"""Roofline figures: what they draw, as which file, the same bytes every time."""

import math

import pytest
from matplotlib.figure import Figure

from hqsim.errors import InputError
from hqsim.report import roofline
from hqsim.report.roofline import Ceiling, RooflinePanel, RooflinePoint, save_rooflines


def point(ops_per_byte, ops_per_s, kind="linear", time_share=0.1):
    return RooflinePoint(
        layer="x", kind=kind, ops_per_byte=ops_per_byte, ops_per_s=ops_per_s, time_share=time_share
    )


POINTS = (point(1.0, 1e9), point(1e3, 5e10, "convolution", 0.4), point(math.inf, 1e10))


def panel(machine="m", points=POINTS):
    ceilings = (Ceiling(label="4 x 4 bit", ops_per_s=1e11), Ceiling(label="9 x 4 bit", ops_per_s=5e10))
    return RooflinePanel(machine=machine, ceilings=ceilings, bytes_per_s=1e10, points=points)


@pytest.fixture
def drawn(monkeypatch):
    """Figures that would have been saved."""
    figures = []
    monkeypatch.setattr(roofline, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def test_a_panel_shows_roof_ceilings_and_points(drawn, tmp_path):
    save_rooflines([panel()], tmp_path / "r.png")
    (axis,) = [axis for axis in drawn[0].axes if axis.get_visible()]
    texts = {text.get_text(): text for text in axis.texts}
    assert {text: label.xy[1] for text, label in texts.items()} == {"4 x 4 bit": 1e11, "9 x 4 bit": 5e10}
    lines = [(line.get_xdata(), line.get_ydata()) for line in axis.lines]
    slope_x, slope_y = lines[-1]
    assert [y / x for x, y in zip(slope_x, slope_y, strict=True)] == pytest.approx([1e10, 1e10])
    assert slope_y[-1] == 1e11
    within, beyond = axis.collections
    # Largest share of time first; the layer without DRAM traffic stands at the right edge.
    assert within.get_offsets().tolist() == [[1e3, 5e10], [1.0, 1e9]]
    assert beyond.get_offsets().tolist() == [[pytest.approx(axis.get_xlim()[1] / 1.2), 1e10]]
    areas = [area - roofline.SMALLEST_POINT for dots in axis.collections for area in dots.get_sizes()]
    assert areas == pytest.approx([roofline.LARGEST_POINT * share for share in (1, 0.25, 0.25)])
    assert axis.get_xscale() == axis.get_yscale() == "log"


def test_layers_far_beyond_the_ridge_do_not_stretch_the_axis(drawn, tmp_path):
    save_rooflines([panel(points=(point(100.0, 1e9), point(1e9, 1e9)))], tmp_path / "r.png")
    axis = drawn[0].axes[0]
    assert axis.get_xlim()[1] == 400
    assert [dots.get_offsets()[0][0] for dots in axis.collections] == pytest.approx([100, 400 / 1.2])


def test_a_machine_each_and_one_legend_of_kinds(drawn, tmp_path):
    save_rooflines([panel(name) for name in "abcd"], tmp_path / "r.png")
    figure: Figure = drawn[0]
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == list("abcd")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["linear", "convolution"]


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_files_are_of_their_kind_and_reproducible(tmp_path, suffix):
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    save_rooflines([panel()], first)
    save_rooflines([panel()], second)
    content = first.read_bytes()
    assert content == second.read_bytes()
    assert content.startswith(b"\x89PNG" if suffix == "png" else b"%PDF")
    if suffix == "pdf":
        assert b"/FontFile2" in content
        assert b"/Type3" not in content


def test_other_files_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"r\.svg: a figure cannot be a '\.svg' file; end its name in \.png or"
    ):
        save_rooflines([panel()], tmp_path / "r.svg")
