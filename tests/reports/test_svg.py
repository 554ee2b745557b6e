"""SVG line charts: well formed, escaped, small, and tolerant of gaps."""

import itertools
import math
import re
from datetime import date, timedelta
from xml.etree import ElementTree

import pytest

from reports.svg import MAX_POINTS, line_chart, stacked_chart

NS = {"svg": "http://www.w3.org/2000/svg"}


def lines(svg: str) -> list[list[tuple[float, float]]]:
    """Points of every polyline."""
    found = ElementTree.fromstring(svg).findall(".//svg:polyline", NS)
    return [[tuple(map(float, point.split(","))) for point in node.get("points").split()] for node in found]


def test_a_line_goes_from_corner_to_corner_of_its_span():
    (points,) = lines(line_chart({"equity": [(0, 1.0), (5, 2.0), (10, 3.0)]}, "Equity", width=400, height=200))
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x0 < x1 < x2
    assert y0 > y1 > y2, "SVG's y points down"
    assert x1 == pytest.approx((x0 + x2) / 2, abs=0.1)
    assert y1 == pytest.approx((y0 + y2) / 2, abs=0.1)


def test_gaps_split_the_line():
    series = {"a": [(0, 1.0), (1, 2.0), (2, math.nan), (3, None), (4, 2.0), (5, math.inf), (6, 1.0)]}
    assert [len(points) for points in lines(line_chart(series, "t"))] == [2, 2, 2]


@pytest.mark.parametrize(
    "series", [{}, {"a": []}, {"a": [(0, None)]}, {"a": [(0, math.nan)]}], ids=["none", "empty", "missing", "nan"]
)
def test_nothing_to_draw_is_said(series):
    svg = line_chart(series, "t")
    assert lines(svg) == []
    assert "nothing to draw yet" in svg


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e12, 1e-12])
def test_a_constant_line_is_drawn(value):
    (points,) = lines(line_chart({"a": [(1, value), (2, value)]}, "t"))
    assert len({y for _, y in points}) == 1


def test_one_point_is_drawn():
    assert len(lines(line_chart({"a": [(1, 2.0)]}, "t"))) == 1


def test_dates_are_named_at_both_ends():
    start = date(2026, 1, 2)
    svg = line_chart({"a": [(start + timedelta(days=k), float(k)) for k in range(30)]}, "t")
    assert "2026-01-02" in svg
    assert "2026-01-31" in svg


def labels(svg: str) -> dict[str, float]:
    """Where each text stands, from the left."""
    return {str(n.text): float(n.get("x")) for n in ElementTree.fromstring(svg).findall(".//svg:text", NS)}


def test_dates_between_the_ends_are_named_as_far_as_there_is_room():
    start = date(2026, 1, 1)
    series = {"a": [(start + timedelta(days=k), float(k)) for k in range(401)]}
    wide, narrow = (labels(line_chart(series, "t", width=width)) for width in (720, 320))
    named = [text for text in wide if text.startswith("202")]
    assert named == ["2026-01-01", "2026-03-22", "2026-06-10", "2026-08-29", "2026-11-17", "2027-02-05"]
    places = [wide[text] for text in named]
    assert min(after - before for before, after in itertools.pairwise(places)) > 90
    assert [text for text in narrow if text.startswith("202")] == ["2026-01-01", "2027-02-05"]


def test_numbers_along_the_axis_are_round():
    found = labels(line_chart({"a": [(0.006 * k, float(k)) for k in range(1, 42)]}, "t"))
    assert {"0.05", "0.1", "0.15", "0.2"} <= set(found)
    assert "0.246" not in found


def test_a_sole_date_is_named_once():
    assert "2026-01-02" in labels(line_chart({"a": [(date(2026, 1, 2), 1.0)]}, "t"))


def test_panels_have_axes_of_their_own_over_one_x_axis():
    small = {"small": [(k, 0.001 * k) for k in range(11)]}
    large = {"large": [(k, 100.0 * k) for k in range(11)], "gone": [(0, None)]}
    svg = stacked_chart({"per step": small, "USD": large, "nothing": {}}, "t", subtitle="s", x_label="steps")
    above, below = lines(svg)
    assert [x for x, _ in above] == [x for x, _ in below]
    assert max(y for _, y in above) < min(y for _, y in below)
    for points in (above, below):
        assert points[0][1] - points[-1][1] > 60
    found = labels(svg)
    assert {"per step", "USD", "steps", "0.005", "500", "small", "large"} <= set(found)
    assert not {"nothing", "gone"} & set(found)


def test_large_amounts_are_written_out():
    assert {"1,020,000", "1,040,000"} <= set(labels(line_chart({"a": [(0, 1e6), (1, 1.06e6)]}, "t")))


def test_a_dozen_long_series_stay_below_200_kb_and_keep_their_ends():
    series = {f"line {k}": [(x, math.sin(x + k)) for x in range(100_000)] for k in range(20)}
    svg = line_chart(series, "t", subtitle="modelled quotes")
    drawn = lines(svg)
    assert len(svg) < 150_000
    assert {len(points) for points in drawn} == {MAX_POINTS}
    assert len({points[-1][0] for points in drawn}) == 1


def test_text_is_escaped():
    evil = '</text><script>alert("x")</script>'
    root = ElementTree.fromstring(line_chart({evil: [(0, 1.0), (1, 2.0)]}, evil, subtitle=evil))
    assert root.findall(".//svg:script", NS) == []
    assert evil in [node.text for node in root.findall(".//svg:text", NS)]


@pytest.mark.parametrize(("width", "beside"), [(720, 3), (360, 2), (200, 1)])
def test_names_of_lines_stand_beside_each_other_as_far_as_there_is_room(width, beside):
    lines = {name: [(0, 0.0), (1, 1.0)] for name in ("from the champion", "from scratch", "champion", "cash")}
    drawn = line_chart(lines, "growth", width=width)
    first = re.search(r'y="([\d.]+)" fill="#16191d">from the champion', drawn)[1]
    assert len(re.findall(rf'<text x="[\d.]+" y="{first}" fill="#16191d">', drawn)) == beside
