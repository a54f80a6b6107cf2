"""Pictures: well-formed, within their frame, true to the values, with gaps where there is none."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgif.engine.report import charts

VALUES = st.one_of(st.floats(-1e15, 1e15), st.just(math.nan), st.sampled_from([0.0, 1e-300, 1e15, -1e15]))
CURVES = st.lists(st.lists(st.lists(VALUES, max_size=5), min_size=1, max_size=4), min_size=1, max_size=3)


def shapes(svg: str, tag: str) -> list[dict[str, str]]:
    return [element.attrib for element in ElementTree.fromstring(svg).iter(tag)]


def points_of(path: str) -> list[list[tuple[float, float]]]:
    """The connected pieces of a line."""
    pieces = [piece.split("L") for piece in path.split("M") if piece]
    return [[(float(x), float(y)) for x, y in (point.split() for point in piece)] for piece in pieces]


def line(svg: str, run: int = 0) -> list[list[tuple[float, float]]]:
    (path,) = [shape["d"] for shape in shapes(svg, "path") if shape["class"] == f"line{run}"]
    return points_of(path)


def ticks(svg: str) -> list[float]:
    return [float(text.text or "") for text in ElementTree.fromstring(svg).iter("text") if text.get("class") == "end"]


@given(CURVES)
def test_any_curve_is_drawn_within_the_picture(runs: list[list[list[float]]]) -> None:
    svg = charts.curves("any", [[[((n + 1) / len(values), y) for n, y in enumerate(values)] for values in run]
                                for run in runs])
    assert "nan" not in svg
    assert "inf" not in svg
    for run in range(len(runs)):
        for piece in line(svg, run):
            assert all(charts.LEFT <= x <= charts.WIDTH and charts.TOP - 0.1 <= y <= charts.HEIGHT for x, y in piece)


def test_a_value_that_is_not_finite_breaks_the_line() -> None:
    points = [(0.25, 1.0), (0.5, 2.0), (0.75, math.nan), (1.0, 1.0)]
    svg = charts.curves("loss", [[points, [(0.5, 2.0), (1.0, 3.0)]]])
    assert [len(piece) for piece in line(svg)] == [2, 3]


def test_a_value_between_two_gaps_is_a_dot() -> None:
    svg = charts.curves("loss", [[[(0.2, 1.0), (0.4, math.nan), (0.6, 2.0), (0.8, math.nan)]]])
    assert len(shapes(svg, "circle")) == 2


def test_curves_stand_where_their_scales_and_values_are() -> None:
    svg = charts.curves("loss", [[[(0.5, 0.0), (1.0, 10.0)], [(0.5, 5.0)]]])
    (((x0, y0), (x1, y1), (x2, y2)),) = line(svg)
    assert [(x - charts.LEFT) / charts.PLOT_WIDTH for x in (x0, x1, x2)] == pytest.approx([0.25, 0.5, 0.75], abs=1e-3)
    assert ticks(svg) == [0, 2.5, 5, 7.5, 10]
    assert [(charts.TOP + charts.PLOT_HEIGHT - y) / charts.PLOT_HEIGHT for y in (y0, y1, y2)] == pytest.approx(
        [0, 1, 0.5], abs=1e-3)


def test_a_spike_does_not_stretch_the_axis() -> None:
    points = [(n / 25, 1000.0 if n == 12 else n / 25) for n in range(1, 26)]
    calm = [[(n / 25, n / 25) for n in range(1, 26)]] * 8
    assert max(ticks(charts.curves("penalty", [[points, *calm]]))) < 2


def test_bars_are_as_high_as_their_values() -> None:
    svg = charts.bars("time", [[1.0, 4.0], [2.0]])
    assert ticks(svg) == [0, 1, 2, 3, 4]
    heights = [(shape["class"], float(shape["height"]) / charts.PLOT_HEIGHT) for shape in shapes(svg, "rect")]
    assert heights == [("fill0", pytest.approx(0.25, abs=1e-3)), ("fill0", pytest.approx(1, abs=1e-3)),
                       ("fill1", pytest.approx(0.5, abs=1e-3))]


def test_phases_stand_on_each_other_and_unknown_ones_are_kept() -> None:
    svg, colours = charts.phases("seconds", [{"G/adam": 1.0, "D/image": 2.0, "<b>": 1.0}, {}])
    assert list(colours) == ["D/image", "G/adam", "<b>"]
    bars = [(float(shape["y"]), float(shape["height"])) for shape in shapes(svg, "rect")][:3]
    for (above, _), (y, height) in zip([(0, 0), *[(y, 0) for y, _ in bars]][1:], bars[1:], strict=False):
        assert y + height == pytest.approx(above, abs=0.2)
    assert bars[-1][0] == pytest.approx(charts.TOP, abs=0.2)


def test_one_value_alone_and_none_at_all_have_a_picture() -> None:
    assert len(shapes(charts.dots("PSNR", [[27.3]]), "circle")) == 1
    assert shapes(charts.dots("PSNR", [[None]]), "circle") == []
    assert shapes(charts.curves("loss", [[[]]]), "circle") == []


def test_titles_are_escaped() -> None:
    svg = charts.dots('a "b" <script>', [[1.0]])
    assert ElementTree.fromstring(svg).get("aria-label") == 'a "b" <script>, by scale'
    assert re.search(r"<script", svg) is None
