"""SVG line charts: well formed, escaped, small, and tolerant of gaps."""

import itertools
import math
import re
from base64 import b64decode
from datetime import date, timedelta
from functools import partial
from xml.etree import ElementTree

import pytest

from reports.pages import TEMPLATES
from reports.palette import DARK, FLOWS, OKABE_ITO, on_dark
from reports.svg import MAX_POINTS, MAX_SERIES, NARROW, ON_DARK, ON_LIGHT, both_widths, line_chart, stacked_chart

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


def luminance(colour: str) -> float:
    """Of #rrggbb, as WCAG 2.2 has it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Of two colours, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def sheet(block: str) -> dict[str, str]:
    """Colours that report.css gives a theme."""
    css = (TEMPLATES / "report.css").read_text()
    found = css.split("@media (prefers-color-scheme: dark)")[block == "dark"].split("}")[0]
    return dict(re.findall(r"--(\w+): (#\w{6})", found))


def test_contrast_is_what_it_is_known_to_be():
    assert contrast("#ffffff", "#000000") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_and_words_stand_out_in_either_theme(theme):
    """On the picture's ground and on the panel's, where the report's figures stand."""
    colours = ON_LIGHT if theme == "light" else ON_DARK
    known = sheet(theme)
    grounds = (colours["ground"], known["panel"])
    for line in {*OKABE_ITO, *FLOWS.values()}:
        drawn = line if theme == "light" else on_dark(line)
        assert min(contrast(drawn, ground) for ground in grounds) >= 3.0, line
    for words in ("ink", "soft"):
        assert min(contrast(colours[words], ground) for ground in grounds) >= 4.5
    assert {name: known[name] for name in ("ink", "soft", "grid")} == {k: colours[k] for k in ("ink", "soft", "grid")}
    assert known["paper"] == colours["ground"]


def test_the_script_raises_the_same_colours():
    block = (TEMPLATES / "report.js").read_text().split("const DARK = {")[1].split("}")[0]
    assert dict(re.findall(r'"(#\w{6})": "(#\w{6})"', block)) == DARK


def test_every_colour_of_a_picture_has_a_dark_one():
    """Whatever is drawn in a light colour is named by a rule for dark screens, or stands out on both grounds."""
    series = {f"line {k}": [(x, float(x + k)) for x in range(3)] for k in range(MAX_SERIES)}
    svg = stacked_chart({"unit": series}, "t", subtitle="s", x_label="x")
    style, drawn = svg.split("</style>")
    rules = style.split("(prefers-color-scheme: dark)")[1]
    for node in re.findall(r"<(?:rect|text|line|polyline) [^>]+>", drawn):
        kind, stroke = re.search(r'class="(\w+)"', node), re.search(r'stroke="(#\w+)"', node)
        if kind:
            assert f".{kind[1]} {{" in rules
        else:
            assert stroke
            assert (f'[stroke="{stroke[1]}"]' in rules) == (stroke[1] in DARK)
    assert "@media screen and" in style, "paper is light"


def test_a_narrow_picture_keeps_its_letters_and_its_words():
    """Nothing begins or ends outside it by a wide typeface's measure; what a heading says goes on below it."""
    label = "modelled quotes (sp500_modelled, spread modelled), smile and spreads assumed"
    title = "Evidence that it does worse than cash, session by session"
    draw = partial(
        line_chart, {f"a long name of policy {k}": [(0, 1.0), (1, 2.0)] for k in range(5)}, title, subtitle=label
    )
    uri = both_widths(draw)["narrow"]
    svg = b64decode(uri.split(",")[1]).decode()
    assert f'width="{NARROW}"' in svg
    root = ElementTree.fromstring(svg)
    words = [(node, str(node.text)) for node in root.findall(".//svg:text", NS)]
    starts = [(float(node.get("x")), text) for node, text in words if node.get("text-anchor") is None]
    assert all(x + 6.0 * len(text) <= NARROW for x, text in starts)
    said = " ".join(text for _, text in words)
    assert title in said
    assert label in said
    rows = sorted({float(node.get("y")) for node, text in words if "policy" in text})
    assert len(rows) == 5
    lowest = max(y for points in lines(svg) for _, y in points)
    assert lowest < rows[0] - 20
    assert rows[-1] < float(root.get("height"))


def test_a_name_that_is_longer_than_its_room_is_cut():
    svg = line_chart({"x" * 200: [(0, 1.0), (1, 2.0)]}, "t")
    (name,) = [text for text in labels(svg) if text.startswith("x")]
    assert name.endswith("\u2026")
    assert len(name) < 40
