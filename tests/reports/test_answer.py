"""The answer first: an outcome in a word and a colour, the numbers beside it, and every check that failed."""

import dataclasses
import re

import pytest

from clstm_core.evaluation.evidence import Evidence
from clstm_core.evaluation.figures import MEAN_METRIC
from reports import tiles
from reports.render import render_report

PAIR = {
    "policy_name": "clstm_080_argmax",
    "against": "cash",
    "metric": MEAN_METRIC,
    "window": "test",
    "fill_lag": 1,
    "headline": True,
    "champion": True,
    "estimate": 1.0,
    "ci_low": -2.0,
    "ci_high": 4.0,
    "confidence": 0.95,
    "n_dates": 1000,
}


def judged(**changes) -> Evidence:
    """A run whose policy was compared with cash."""
    return Evidence(run="r", policy_name="clstm_080_argmax", ladder=[{**PAIR, **changes}])


@pytest.mark.parametrize(
    ("changes", "kind", "word"),
    [
        ({}, "level", "Not distinguishable"),
        ({"ci_low": 0.5}, "beats", "Beats cash"),
        ({"ci_high": -0.5}, "worse", "Does worse than cash"),
        ({"ci_low": None, "ci_high": None}, "short", "Too short to tell"),
        ({"champion": False}, "unqualified", "Unqualified"),
        ({"ci_low": 0.5, "beyond_luck": False, "p_value": 0.2}, "ahead", "Ahead of cash, not proven"),
        ({"ci_low": 0.5, "stressed_ci_low": -1.0, "stressed_ci_high": 2.0}, "ahead", "Ahead of cash, not proven"),
        ({"against": "random"}, "none", "No verdict yet"),
        ({"estimate": float("nan")}, "none", "No verdict yet"),
    ],
)
def test_the_outcome_says_no_more_than_the_comparison(changes, kind, word):
    found = tiles.outcome(judged(**changes))
    assert (found.kind, found.word) == (kind, word)


def test_why_an_advantage_does_not_count_is_said():
    assert tiles.outcome(judged(ci_low=0.5, beyond_luck=False, p_value=0.2)).rest == (": no further than luck reaches")
    assert tiles.outcome(judged(ci_low=0.5, beyond_luck=False)).rest == ": untested against luck"
    said = tiles.outcome(judged(champion=False)).rest
    assert said == ": no champion; the last rung is not distinguishable from cash"


def test_the_headline_is_judged_not_another_window_lag_or_policy():
    row = {**PAIR, "ci_low": 0.5}
    rows = [
        {**row, "headline": False, "window": "validation"},
        {**row, "headline": False, "fill_lag": 0},
        {**row, "policy_name": "clstm_020_argmax"},
        {**row, "metric": "sharpe"},
        PAIR,
    ]
    assert tiles.outcome(Evidence(run="r", policy_name="clstm_080_argmax", ladder=rows)).kind == "level"


def test_the_other_baselines_are_told_in_a_line():
    pairs = [{**PAIR, "against": name} for name in ("cash", "put_write", "random", "buy_and_hold")]
    pairs[2] |= {"ci_low": 0.1}
    said = tiles.others(Evidence(run="r", policy_name="clstm_080_argmax", ladder=pairs))
    assert said == "Of 3 other baselines it beats random and trails none."
    assert tiles.others(Evidence(run="r")) == ""


def test_the_tiles_have_the_numbers_of_the_headline(report_data):
    found = {tile.name: tile for tile in tiles.tiles(report_data)}
    row = next(row for row in report_data.backtests if row["name"] == report_data.policy_name and row["headline"])
    assert found["total return"].value == f"{100 * row['total_return']:+.1f}%"
    assert found["over cash per year"].value == "+1.8%"  # 0.7 bps x 252
    assert found["over cash per year"].note == "interval -4.5% to +8.3%"
    told = next(row for row in report_data.tear_sheet if row["figure"] == "Sharpe ratio")
    assert found["Sharpe ratio"].value == f"{told['value']:.2f}"
    assert found["Sharpe ratio"].note == f"95% interval {told['low']:.2f} to {told['high']:.2f}"
    assert found["spread and fees paid"].value == "1,065 USD"
    assert found["sessions"].value == "320"
    assert found["data"].value == "modelled quotes"
    assert (found["checks failed"].value, found["checks failed"].bad) == ("1 of 6", True)


def test_a_window_shorter_than_a_year_is_not_annualised():
    tile = next(t for t in tiles.tiles(judged(n_dates=103)) if t.name.startswith("over cash"))
    assert (tile.name, tile.value, tile.note) == (
        "over cash in 103 sessions",
        "+1.0%",
        "95% interval -2.1% to +4.1%",
    )


def test_the_ratio_has_its_interval_where_one_was_made():
    row = {"figure": "Sharpe ratio", "value": 0.6, "low": -0.25, "high": 1.5}

    def tile(**changes):
        data = Evidence(run="r", tear_sheet=[row | changes])
        return next(found for found in tiles.tiles(data) if found.name == "Sharpe ratio")

    assert (tile().value, tile().note) == ("0.60", "95% interval -0.25 to 1.50")
    assert tile(low=None, high=None).note == "per year, beyond cash"
    assert (tile(value=None).value, tile(value=None).note) == ("–", "not told of less than a year")


def test_nothing_known_is_a_dash_and_no_zero():
    assert {tile.value for tile in tiles.tiles(Evidence(run="r"))} == {"–", "unknown origin"}


def test_failed_checks_stand_beside_the_verdict_each_with_its_panel(report_data, tmp_path):
    gates = [
        {"gate": "trained_policy", "name": f"check_{k}", "passed": False, "blocking": k == 6, "detail": f"found {k}"}
        for k in range(7)
    ]
    parity = [{"runtime": "onnx", "batch": 7, "passed": False}]
    data = dataclasses.replace(report_data, gates=gates, parity=parity)
    page = render_report(data, tmp_path).read_text()
    verdict = page.split('<section id="verdict"')[1].split("</section>")[0]
    assert re.findall(r'<a href="#(\w+)">(check_\d|parity of onnx)</a>', verdict) == [
        ("gates", "check_6"),
        ("bundle", "parity of onnx"),
        *(("gates", f"check_{k}") for k in range(6)),
    ]
    assert verdict.count("<strong>blocks</strong>") == 2


def test_failed_rows_come_first_in_their_table(report_data, tmp_path):
    page = render_report(report_data, tmp_path).read_text()
    gates = page.split('<section id="gates"')[1].split("</section>")[0]
    assert gates.index("fees: checked") < gates.index("conservation: checked")


def test_the_answer_comes_before_words_and_hashes(report_data, tmp_path):
    page = render_report(report_data, tmp_path).read_text()
    verdict = page.split('<section id="verdict"')[1].split("</section>")[0]
    answer, folded = verdict.split("<details", 1)
    assert 'class="verdict level"' in '<section id="verdict"' + answer
    assert "Not distinguishable" in answer
    assert answer.count('class="value"') == 8
    assert report_data.verdict not in answer
    assert report_data.verdict in folded
    assert '<code title="' + "c" * 64 + '">cccccccc</code>' in folded
    assert ">0123abc<" in folded
    assert " onclick" not in page


def test_provenance_counts_have_commas_and_hashes_eight_digits():
    pairs = [("env steps", "802816"), ("git commit", "ab" * 20 + "-dirty"), ("seed", "12345")]
    found = [(fact.short or fact.value) for fact in tiles.facts(pairs)]
    assert found == ["802,816", "abababab-dirty", "12345"]


def test_contents_name_every_panel_and_training_is_folded(report_data, tmp_path):
    page = render_report(report_data, tmp_path).read_text()
    contents = page.split("<nav")[1].split("</nav>")[0]
    assert re.findall(r'href="#([\w-]+)"', contents) == re.findall(r'<section id="([\w-]+)"', page)
    training = page.split('<section id="training"')[1].split("</section>")[0]
    assert training.index('<details class="fold">') < training.index("<figure")
    assert page.count('<details class="fold">') == 1
