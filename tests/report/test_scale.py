import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib import colormaps

from hqsim.report.scale import PARTS, Scale, ink_on, luminance, viridis


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])


def test_colours_agree_with_matplotlibs_viridis():
    for fraction in np.linspace(0, 1, 41):
        expected = 255 * np.array(colormaps["viridis"](float(fraction))[:3])
        assert np.abs(rgb(viridis(float(fraction))) - expected).max() <= 5


def test_colours_get_steadily_lighter():
    lightness = [luminance(viridis(index / 200)) for index in range(201)]
    assert all(low < high for low, high in pairwise(lightness))


def test_fraction_outside_takes_the_end_colours():
    assert viridis(-3) == viridis(0) == "#440154"
    assert viridis(7) == viridis(1) == "#fde725"


@pytest.mark.parametrize(
    ("colour", "expected"), [("#000000", 0.0), ("#ffffff", 1.0), ("#ff0000", 0.2126), ("#808080", 0.21586)]
)
def test_luminance_is_wcags(colour, expected):
    assert luminance(colour) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("colour", PARTS)
def test_text_on_every_part_reaches_wcag_aa(colour):
    lights = sorted((luminance(colour), luminance(ink_on(colour))))
    assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5


def test_limits_are_round_and_hold_the_values():
    scale = Scale.of([12.3, 20.0, 31.9])
    assert (scale.low, scale.high, scale.step) == (10.0, 35.0, 5.0)
    assert not scale.below and not scale.above
    assert [text for _, text in scale.ticks()] == ["10", "15", "20", "25", "30", "35"]
    assert scale.fraction(22.5) == 0.5


def test_an_outlier_is_clipped_and_marked():
    scale = Scale.of([*np.linspace(20, 30, 200), 500.0])
    assert scale.above and not scale.below
    assert scale.high < 40
    assert scale.ticks()[-1][1].startswith("≥")
    assert scale.colour(500.0) == viridis(1)


@pytest.mark.parametrize("values", [[], [math.nan, math.inf], [7.0], [7.0, 7.0, math.inf]])
def test_no_spread_still_gives_an_axis(values):
    scale = Scale.of(values)
    assert scale.high > scale.low
    assert len(scale.ticks()) >= 2


def test_negative_and_small_limits_read_well():
    assert [text for _, text in Scale.of([-2.0, 0.0]).ticks()] == [
        "\u22122.0",
        "\u22121.5",
        "\u22121.0",
        "\u22120.5",
        "0.0",
    ]
