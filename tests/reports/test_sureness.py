"""How sure one may be: the answer first, every figure with what it is, and what cannot be asked said in words."""

import dataclasses
import re

import pytest

from clstm_core.evaluation.evidence import Evidence
from clstm_core.evaluation.sureness import DEFINITIONS
from reports.render import render_report
from reports.sureness_figures import NOTHING, overfit_chart, sureness_panel


def without(data: Evidence, **changes) -> Evidence:
    return dataclasses.replace(data, statistics={**data.statistics, **changes})


def test_the_answer_comes_first_and_says_where_the_count_of_trials_is_from(report_data):
    panel = sureness_panel(report_data)
    share = report_data.statistics["overfit"]["probability"]
    assert re.match(r"The ladder's best rung is chosen (no better than by lot|better than by lot)", panel.message)
    assert f"PBO {share:.0%} of 12,870 halves" in panel.message
    assert panel.message.endswith("30 before this package, 7 in the registry.")


def test_every_figure_is_defined(report_data):
    table = dict(sureness_panel(report_data).tables)["What the figures are"]
    assert [row[0] for row in table.rows] == list(DEFINITIONS)
    assert [row[-1] for row in table.rows] == list(DEFINITIONS.values())
    record = report_data.statistics["record"]
    assert table.rows[1][1:3] == [f"{100 * record['dsr']:.2f}%", "95% or more"]
    assert table.rows[2][1] == "37"


def test_the_histogram_has_every_half_and_a_table_behind_it(report_data):
    chart = overfit_chart(report_data)
    assert sum(chart.figure["data"][0]["y"]) == pytest.approx(1.0)
    assert len(chart.table.rows) == 5
    assert "modelled quotes" in chart.figure["layout"]["title"]["subtitle"]["text"]


def test_a_benchmark_that_could_not_be_asked_says_why_and_has_no_p(report_data):
    rows = [
        {
            "against": "cash",
            "p": None,
            "better": [],
            "policies": 0,
            "block": None,
            "why": "no policy did anything else",
        },
        {"against": "random", "p": 0.01, "better": ["clstm_020_argmax"], "policies": 5, "block": 4, "why": ""},
    ]
    shown = sureness_panel(without(report_data, superior=rows)).tables[1][1]
    assert shown.rows[0][1:3] == ["–", "not asked: no policy did anything else"]
    assert shown.rows[1][1:3] == ["1.00%", "checkpoint 20%"]
    assert "Hansen 2005" in shown.note
    assert "samples, seed 0" in shown.note


def test_why_no_policy_may_be_called_the_best_is_said(report_data):
    none = {"rows": [], "block": None, "why": "59 returns are too few"}
    panel = sureness_panel(without(report_data, confidence_set=none, confidence_answer="It is not known: why."))
    assert panel.message.endswith("It is not known: why.")
    assert len(panel.tables) == 2


def test_without_a_probability_of_overfitting_there_is_no_picture(report_data):
    assert overfit_chart(without(report_data, overfit=None)) is None
    assert sureness_panel(without(report_data, overfit=None)).charts == []
    assert sureness_panel(Evidence(run="r")).message == NOTHING


def test_the_page_shows_it_before_luck_and_names_rungs_as_readers_do(report_data, tmp_path):
    page = render_report(report_data, tmp_path).read_text()
    assert page.index('<section id="sureness">') < page.index('<section id="luck">')
    section = page[page.index('<section id="sureness">') : page.index('<section id="luck">')]
    assert "clstm_" not in section
    assert "checkpoint 80%" in section
