"""Training curves, and quality over cost."""

import numpy as np

from hqsim.report.curves import running_mean, save_curves
from hqsim.report.tradeoff import LABELLED, Point, front_of, labelled, save_tradeoff


def test_the_running_mean_is_short_at_the_beginning():
    assert running_mean(np.array([2.0, 4.0, 9.0, 1.0]), 2).tolist() == [2.0, 3.0, 6.5, 5.0]
    assert running_mean(np.array([2.0, 4.0]), 10).tolist() == [2.0, 3.0]


def test_curves_are_the_same_bytes_every_time(tmp_path):
    x = np.arange(1.0, 20.0)
    panels = [("W4A4", {"a": (x, 1 / x), "b": (x, 2 / x)}), ("W4A3", {"b": (x, 3 / x)})]
    for name in ("one.png", "two.png"):
        save_curves(panels, tmp_path / name, x_label="update", y_label="loss")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def _point(label, cost, quality):
    return Point(label=label, group=label[0], cost=cost, quality=quality, low=quality - 1, high=quality + 1)


def test_the_front_holds_what_nothing_beats_in_both():
    points = [
        _point("a cheap", 1, 5), _point("b worse, dearer", 2, 4), _point("c good", 3, 9),
        _point("d equal, dearer", 4, 9), _point("e same cost, worse", 3, 8),
    ]  # fmt: skip
    assert [point.label for point in front_of(points)] == ["a cheap", "c good"]


def test_the_tradeoff_is_drawn(tmp_path):
    points = [_point("a", 1, 5), _point("b", 2, 4), _point("a2", 3, 6)]
    save_tradeoff(points, tmp_path / "points.png", cost_label="cost", quality_label="quality")
    assert (tmp_path / "points.png").stat().st_size > 1000


def test_of_many_points_those_on_the_front_bear_their_names(tmp_path):
    few = [_point(f"p{index}", cost=index, quality=9.0 - index) for index in range(LABELLED)]
    assert labelled(few) == few
    many = [*few, _point("best", cost=0.5, quality=10.0)]
    assert [one.label for one in labelled(many)] == ["p0", "best"]
    save_tradeoff(many, tmp_path / "many.pdf", cost_label="cost", quality_label="quality", hollow="half")
    assert (tmp_path / "many.pdf").stat().st_size > 0
