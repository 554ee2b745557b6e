"""The pages of retrainings show what they are told as it is: every start, its stages, its days, and what is damaged."""

import base64
import csv
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from reports.challenger_figures import measured
from reports.challenger_page import growth_beyond_cash, render_challengers
from reports.feedback_page import render_champion
from reports.gallery import write_gallery

sys.path.insert(0, str(Path(__file__).parent))
from every_page import challengers_story, champion_story

EVIL = "<script>alert(1)</script>\"'&"
ROOM = "challengers"


@pytest.fixture
def drawn(tmp_path):
    """Draws the pages of a story, changed in place before where a test asks; text of a page by its name."""

    def draw(change=lambda story: None, text=str):
        story = challengers_story(text)
        change(story)
        render_challengers(story, tmp_path)
        return lambda name="": (tmp_path / ROOM / name / "index.html").read_text()

    return draw


def links(page: Path) -> set[Path]:
    """Files that a page's links lead to."""
    found = re.findall(r'href="([^"#]+)"', page.read_text())
    return {(page.parent / unquote(link)).resolve() for link in found if not link.startswith("data:")}


def test_every_text_is_escaped_on_every_page_and_in_the_gallery(drawn, tmp_path):
    page = drawn(text=lambda _: EVIL)
    for text in (page(), page("june"), page("may"), page("april"), (tmp_path / "index.html").read_text()):
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text
    for text in (page(), page("june")):
        assert "script-src &#39;none&#39;" in text
        assert "<script" not in text


def test_the_answer_comes_first_and_both_starts_stand_beside_the_champion(drawn):
    page = drawn()("june")
    headings = ("What came of it?", "Growth beyond cash", "The judged days in figures", "Regime by regime")
    headings += ("From the champion</h2>", "From scratch</h2>", "What was decided on it", "Why, and on which days")
    places = [page.index(heading) for heading in headings]
    assert places == sorted(places)
    row = page.split("log growth beyond cash</th>")[1].split("</tr>")[0]
    assert re.findall(r">([^<]+)</td>", row) == ["+2.00%", "-3.00%", "+1.00%", "+0.00%"]
    assert '<p class="badge modelled">modelled quotes</p>' in page
    assert "+1.20 (-2.00 to +4.00)" in page
    assert "+1.20 (too few to tell)" in page
    assert "21.00%" in page
    assert "drift was flagged" in page
    assert "not luck, superior" in page
    assert '<tr><th scope="row">trained on</th><td>2011‑01‑03</td>' in page
    assert '<td class="number">120</td>' in page


def test_every_link_leads_to_a_file(drawn, tmp_path):
    drawn()
    render_champion(champion_story(), tmp_path)
    pages = [*(tmp_path / ROOM).rglob("index.html"), tmp_path / "index.html", tmp_path / "champion" / "index.html"]
    assert len(pages) == 6
    for page in pages:
        assert [place for place in links(page) if not place.is_file()] == []


def test_the_table_behind_the_chart_is_what_the_chart_shows(drawn, tmp_path):
    drawn()
    story = challengers_story()["retrainings"][0]["starts"]
    for start in story:
        with (tmp_path / ROOM / "june" / f"{start['start']}.csv").open() as handle:
            rows = list(csv.DictReader(handle))
        assert list(rows[0]) == ["date", "challenger", "champion", "cash", "regime"]
        assert [float(row["challenger"]) for row in rows] == start["days"]["challenger"]
    lines = growth_beyond_cash(story)
    assert list(lines) == ["from the champion", "from scratch", "champion", "cash"]
    days = story[0]["days"]
    last = 100 * sum(mine - cash for mine, cash in zip(days["challenger"], days["cash"], strict=True))
    assert lines["from the champion"][-1][1] == pytest.approx(last)
    assert {y for _, y in lines["cash"]} == {0.0}


def test_the_picture_is_there_for_wide_and_narrow_screens_and_says_its_data(drawn):
    page = drawn()("june")
    pictures = re.findall(r'(?:src|srcset)="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(pictures) == 2
    for picture in pictures:
        drawing = base64.b64decode(picture).decode()
        assert drawing.count("<polyline") == 4
        assert "modelled quotes" in drawing


def test_a_first_challenger_is_laid_beside_cash(drawn):
    def first(story):
        found = story["retrainings"][0]
        found["champion"], found["starts"] = {}, found["starts"][1:]
        found["starts"][0]["accounts"]["champion"] = {}
        del found["starts"][0]["days"]["champion"]

    page = drawn(first)("june")
    assert "cash: no champion stood" in page
    assert "Log growth less cash&#39;s" in page
    assert "From the champion</h2>" not in page
    row = page.split("largest fall from a peak</th>")[1].split("</tr>")[0]
    assert re.findall(r">([^<]+)</td>", row) == ["-3.10%", "–", "–"]


def test_a_start_that_a_stage_ended_has_no_days_to_show(drawn):
    page = drawn()("may")
    assert "No start came so far that it was judged" in page
    assert '<td class="bad">failed</td><td class="number">+0.0031</td><td class="number">above 0</td>' in page
    assert "No start of it was ever proposed" in page
    assert "<picture>" not in page
    assert "Its market is not at hand any more" in page


def test_one_that_ended_beside_one_that_was_judged_has_no_column(drawn):
    def one(story):
        june, may = story["retrainings"][:2]
        june["starts"][0] = may["starts"][0]

    page = drawn(one)("june")
    row = page.split("log growth beyond cash</th>")[1].split("</tr>")[0]
    assert re.findall(r">([^<]+)</td>", row) == ["-3.00%", "+1.00%", "+0.00%"]
    assert page.count(".csv") == 1


def test_what_is_damaged_is_named_and_linked(drawn):
    page = drawn()
    assert '<a href="april/index.html">april</a></th><td class="longer">altered file pairs.parquet' in page()
    assert '<th scope="row">a file</th><td class="longer">no name of a run' in page()
    assert "2 cannot be read" in page()
    assert "april cannot be read" in page("april")
    assert "altered file pairs.parquet" in page("april")


def test_what_must_not_be_overlooked_is_said(drawn):
    def odd(story):
        story["registry"] = "altered state 3"
        story["retrainings"][0]["same_days"] = False
        story["retrainings"][0]["starts"][1]["state"] = "missing"

    page = drawn(odd)
    assert "the starts were judged on different days" in page("june")
    assert "june.scratch has not come to its end" in page("june")
    assert "by force of a person" not in page("june")
    assert "Decisions cannot be told: altered state 3" in page("june")
    assert "the registry cannot be read" in page()


def test_a_champion_by_force_is_no_good_news(drawn):
    def forced(story):
        start = story["retrainings"][0]["starts"][0]
        start["role"], start["decisions"][0] = "champion", start["decisions"][0] | {"forced": True}

    page = drawn(forced)("june")
    assert "june is champion by force of a person" in page
    assert 'class="verdict unqualified"' in page


def test_nothing_was_made_yet(drawn):
    def none(story):
        story.update(retrainings=[], damaged=[], answer="No challenger was made yet.", decided=False)

    page = drawn(none)()
    assert "No challenger was made yet." in page
    assert "../champion/" not in page


def test_the_champions_page_links_a_challengers_page_where_there_is_one(drawn, tmp_path):
    plain = render_champion(champion_story(), tmp_path).read_text()
    assert f"../{ROOM}/" not in plain
    drawn()
    story = champion_story()
    story["roles"]["champion"]["run"] = "june.scratch"  # the second start of `june`
    story["decisions"][0]["subject"] = {"run": "june", "identity": "b" * 64}
    page = render_champion(story, tmp_path).read_text()
    assert f'<a href="../{ROOM}/june/index.html">june.scratch</a>' in page
    assert f'<a href="../{ROOM}/june/index.html">june</a>' in page
    assert f'<a href="../{ROOM}/index.html">All challengers</a>' in page


@pytest.mark.parametrize("damage", ["{", "[]", '{"pages": {"june": ["x"]}}', '{"pages": {"june": "../../etc"}}'])
def test_an_index_that_cannot_be_read_links_nothing(drawn, tmp_path, damage):
    drawn()
    assert f'href="{ROOM}/index.html"' in write_gallery(tmp_path).read_text()
    (tmp_path / ROOM / "challengers.json").write_text(damage)
    write_gallery(tmp_path)
    story = champion_story()
    story["roles"]["champion"]["run"] = "june"
    assert "june/index.html" not in render_champion(story, tmp_path).read_text()


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.0031, "variance", "+0.0031"),
        (-0.0031, "variance", "-0.0031"),
        (0.0, "variance", "0"),
        (1.8e-7, "nats", "1.8e-07 nats"),
        (0.019, "share", "1.90%"),
        (-0.011, "growth", "-1.10%"),
        (-0.13, "bp per session", "-0.13 bp"),
        (None, "", "–"),
    ],
)
def test_a_figure_has_its_unit(value, unit, shown):
    assert measured(value, unit) == shown
