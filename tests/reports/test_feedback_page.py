"""The champion's page says first who it is, then by which figures, and shows what it is given as it is."""

import sys
from pathlib import Path

import pytest

from reports.feedback_page import render_champion

sys.path.insert(0, str(Path(__file__).parent))
from every_page import champion_story

EVIL = "<script>alert(1)</script>\"'&"


def page_of(story, tmp_path):
    return render_champion(story, tmp_path).read_text()


def test_every_text_is_escaped_on_the_page_and_in_the_gallery(tmp_path):
    page = page_of(champion_story(lambda _: EVIL), tmp_path)
    for text in (page, (tmp_path / "index.html").read_text()):
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text
    assert "script-src &#39;none&#39;" in page


def test_figures_stand_beside_their_limits_in_their_units(tmp_path):
    page = page_of(champion_story(), tmp_path)
    for figure, limit in (("21.00%", "2.50%"), ("-1.23 bp", "0.00 bp"), ("1.70", "20.00"), ("84 us", "1,000 us")):
        assert f'<td class="number">{figure}</td><td class="number">{limit}</td>' in page
    assert page.index("Who is champion?") < page.index("The rules that were asked last") < page.index("Decisions, the")
    assert "not luck, superior, evidence" in page


def test_force_damage_and_no_champion_are_not_overlooked(tmp_path):
    story = champion_story()
    assert "appointed by a person, against the rules or without them" in page_of(story, tmp_path)
    story["roles"]["champion"]["whole"] = False
    assert "the champion&#39;s copy is damaged" in page_of(story, tmp_path)
    story["roles"]["challenger"]["standing"] = "UNQUALIFIED: no rung qualifies"
    assert "challenger: UNQUALIFIED" in page_of(story, tmp_path)
    story["roles"]["champion"], story["came"] = None, None
    page = page_of(story, tmp_path)
    assert "nobody: cash" in page
    assert "appointed by a person" not in page


@pytest.mark.parametrize("damage", ["{", "[]"])
def test_a_gallery_passes_over_a_page_that_it_cannot_read(tmp_path, damage):
    page_of(champion_story(), tmp_path)
    from reports.gallery import write_gallery

    assert 'href="champion/index.html"' in write_gallery(tmp_path).read_text()
    (tmp_path / "champion" / "champion.json").write_text(damage)
    assert "champion/index.html" not in write_gallery(tmp_path).read_text()
