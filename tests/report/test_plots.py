"""Plots: where points land, read back with an XML parser."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from lungsight.report.plots import Axis, Band, Line, Plot, plot_svg

UNIT = Axis("share", (0.0, 0.5, 1.0))
LOG = Axis("per scan", (0.125, 1.0, 8.0), ("1/8", "1", "8"), log=True)


def drawn(plot: Plot) -> ElementTree.Element:
    return ElementTree.fromstring(str(plot_svg(plot)))  # noqa: S314 - our own output


def places(element: ElementTree.Element | None) -> list[tuple[float, ...]]:
    assert element is not None
    return [tuple(map(float, pair.split(","))) for pair in element.attrib["points"].split()]


def test_corners_land_in_the_corners_of_the_grid() -> None:
    # 460 x 360 with margins of 58 left, 14 right, 12 above, 50 below; y runs downward.
    svg = drawn(Plot("t", UNIT, UNIT, [Line("a", [0, 0.5, 1], [0, 0.25, 1])]))
    assert places(svg.find("polyline")) == [(58, 310), (252, 235.5), (446, 12)]


def test_equal_factors_are_equal_steps_on_a_log_axis() -> None:
    svg = drawn(Plot("t", LOG, UNIT, [Line("a", [0.125, 1, 8], [0, 0, 0])]))
    assert [x for x, _ in places(svg.find("polyline"))] == [58, 252, 446]
    assert {"1/8", "1", "8", "per scan", "share", "0.5"} <= {text.text for text in svg.iter("text")}


def test_points_beyond_an_axis_stay_on_its_border_and_nan_is_left_out() -> None:
    svg = drawn(Plot("t", UNIT, UNIT, [Line("a", [-3, 0.5, np.nan, 7], [0, np.nan, 0, 9])]))
    assert places(svg.find("polyline")) == [(58, 310), (446, 12)]


def test_dots_and_lines_and_the_legend_are_drawn_when_asked_for() -> None:
    dots = drawn(Plot("t", UNIT, UNIT, [Line("", [0, 1], [0, 1], points=True, joined=False)]))
    assert (len(dots.findall("circle")), dots.find("polyline")) == (2, None)
    assert dots.findall("path[@class='line main']") == []
    line = drawn(Plot("t", UNIT, UNIT, [Line("a", [0, 1], [0, 1], "second")]))
    assert (len(line.findall("circle")), len(line.findall("path[@class='line second']"))) == (0, 1)


def test_the_band_goes_there_and_back() -> None:
    svg = drawn(Plot("t", UNIT, UNIT, [], Band([0, 1], [0, 0], [0.5, 1])))
    assert places(svg.find("polygon")) == [(58, 310), (446, 310), (446, 12), (58, 161)]


def test_nothing_to_draw_is_an_empty_grid() -> None:
    assert places(drawn(Plot("t", UNIT, UNIT, [Line("a", [], [])])).find("polyline")) == []


def test_texts_are_escaped() -> None:
    svg = drawn(Plot('"<b>"', Axis("<i>", (0, 1)), UNIT, [Line("a & b", [], [])]))
    assert svg.attrib["aria-label"] == '"<b>"'
    assert {"<i>", "a & b"} <= {text.text for text in svg.iter("text")}


def test_an_axis_with_too_few_names_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        plot_svg(Plot("t", Axis("a", (0, 1), ("one",)), UNIT, []))
