"""The page of a walk-forward: the answer first, a table behind each figure, nothing remote, linked from the gallery."""

import dataclasses
import json
import re

import pytest

from clstm_core.walk_forward.evidence import WalkEvidence
from reports.luck_figures import CONTROLS_TITLE
from reports.walk_forward import others, outcome, render_walk, walk_tiles
from reports.walk_forward_figures import walk_panels

EVIL = "<script>alert('x')</script></script><!--\"&"


@pytest.fixture
def data(walk_evidence):
    return walk_evidence


def test_the_answer_comes_first_and_the_data_are_named(data, tmp_path):
    page = render_walk(data, tmp_path).read_text()
    assert page.index("Not distinguishable") < page.index('class="tiles"') < page.index('id="record"')
    assert 'class="badge modelled"' in page
    assert "nobody quoted them" in page
    assert (
        "modelled quotes"
        in json.loads(re.search(r'data-chart="chart-excess">(.*?)</script>', page)[1])["layout"]["title"]["subtitle"][
            "text"
        ]
    )


def test_every_chart_has_its_table_and_nothing_is_remote(data, tmp_path):
    page = render_walk(data, tmp_path).read_text()
    charts = [chart for panel in walk_panels(data) for chart in panel.charts]
    assert [chart.id for chart in charts] == ["excess", "folds", "fold-returns", "regimes"]
    assert all(chart.table.rows for chart in charts)
    assert page.count("data-chart=") == page.count("data-table=") == len(charts)
    assert "http://" not in page
    assert "https://" not in page
    assert "script-src &#39;self&#39;;" in page
    for file in re.findall(r'(?:src|href)="(\.\./\.\./[^"#]+)"', page):
        assert (tmp_path / "walk-forward" / "sp500" / file).resolve().is_file(), file


def test_tiles_are_the_records_numbers(data):
    tiles = {tile.name: tile for tile in walk_tiles(data)}
    pair = next(pair for pair in data.figures[0]["pairs"] if pair["against"] == "cash")
    assert tiles["over cash per year"].value == f"{pair['estimate'] * 2.52:+.1f}%"
    assert tiles["folds and seeds"].value == "2 x 2"
    assert tiles["policies that looked"].value == "90"


def test_less_than_a_year_is_told_whole_and_without_a_ratio(data):
    nothing = {"estimate": None, "low": None, "high": None}
    short = dataclasses.replace(data, figures=[{**data.figures[0], "sessions": 120, "sharpe": nothing}])
    tiles = {tile.name: tile for tile in walk_tiles(short)}
    assert "over cash in 120 sessions" in tiles
    assert (tiles["Sharpe ratio"].value, tiles["Sharpe ratio"].note) == ("–", "not told of less than a year")


def test_a_lead_is_not_called_skill(walk_evidence_of):
    ahead = walk_evidence_of(drift=1e-3, fair=False)
    found = outcome(ahead)
    assert (found.kind, found.word, found.rest) == ("ahead", "Ahead of cash, not proven", ": untested against luck")
    assert "beats" not in others(ahead.figures[0])


def test_a_lead_beyond_luck_on_modelled_prices_is_not_called_skill_either(walk_evidence_of):
    found = outcome(walk_evidence_of(drift=1e-3))
    assert (found.kind, found.word) == ("ahead", "Ahead of cash, not proven")
    assert found.rest == ": further than luck reaches, but was not tried in the stressed world"


def test_the_joined_record_has_a_place_among_luck(data, tmp_path, walk_evidence_of):
    luck = data.figures[0]["luck"]
    tile = next(tile for tile in walk_tiles(data) if tile.name == "luck against cash")
    assert tile.value == f"p = {luck['p']:.1%}"
    tables = dict(walk_panels(data)[0].tables)
    placed = tables["Skill or luck: against cash, among fair worlds"]
    assert [row[0] for row in placed.rows] == ["the joined record", "fold 1", "fold 2"]
    assert placed.rows[0][-1] == f"{100 * luck['p']:.2f}%"
    assert "luck against cash" in render_walk(data, tmp_path).read_text()
    unasked = walk_evidence_of(fair=False)
    assert unasked.figures[0]["luck"] is None
    assert "luck against cash" not in render_walk(unasked, tmp_path).read_text()


def test_the_gallery_links_it_beside_the_runs(data, tmp_path):
    render_walk(data, tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert 'href="walk-forward/sp500/index.html"' in page
    row = page.split('<tr data-walk="sp500">')[1].split("</tr>")[0]
    assert "2 x 2" in row
    assert "Not distinguishable" in row
    assert "modelled quotes" in row


def test_a_second_recipe_has_panels_of_its_own(walk_evidence_of):
    both = walk_panels(walk_evidence_of(recipes=("default_cpu", "smoke")))
    assert len({panel.id for panel in both}) == len(both) == 8
    charts = [chart.id for panel in both for chart in panel.charts]
    assert len(set(charts)) == len(charts)
    assert both[4].title.endswith(": smoke")


def test_its_text_is_escaped(data, tmp_path):
    hostile = dataclasses.replace(data, verdict=EVIL, verdict_points=[EVIL], data_label=EVIL, provenance=[(EVIL, EVIL)])
    page = render_walk(hostile, tmp_path).read_text()
    assert "<script>alert" not in page
    assert "<!--" not in page


def test_evidence_comes_back_from_json(data):
    assert WalkEvidence.from_dict(json.loads(json.dumps(data.to_dict()))) == data


def test_the_controls_of_each_recipe_stand_beside_the_verdict(walk_evidence_of, tmp_path):
    two = walk_evidence_of(recipes=("default_cpu", "smoke"))
    told = {"idle": 0.97, "growth_bps": 0.01, "error_bps": 0.1, "windows": 100, "window_sessions": 1260}
    rows = [{"recipe": "smoke", "world": world, "called_better": 0, **told} for world in ("edge-free", "overpaid")]
    data = dataclasses.replace(two, controls=rows, controls_words="smoke: it held nothing. `clstm controls` & more.")
    first, other = (
        [caption for caption, _ in panel.tables] for panel in walk_panels(data) if panel.id.startswith("record")
    )
    assert CONTROLS_TITLE not in first
    assert CONTROLS_TITLE in other
    page = render_walk(data, tmp_path).read_text()
    assert "smoke: it held nothing. <code>clstm controls</code> &amp; more." in page
    assert page.index("<code>clstm controls") < page.index('id="record"')
    assert "edge-free" in page
