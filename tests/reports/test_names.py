"""One display name per policy and metric, and as many decimals in a column as its numbers share."""

import pytest

from clstm_core.evaluation.figures import ATTRIBUTION
from reports import charts
from reports.names import metric_name, policy_name, renamed, renaming
from reports.palette import FLOWS
from reports.panels import panels_of
from reports.render import render_report, shown_panels


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("put_write", "PUT"),
        ("buy_write", "BXM"),
        ("short_straddle", "short straddle"),
        ("cash", "cash"),
        ("clstm_040_argmax", "checkpoint 40%"),
        ("clstm_100_stochastic", "checkpoint 100%, stochastic"),
    ],
)
def test_policies_are_called_what_the_verdict_calls_them(name, shown):
    assert policy_name(name) == shown


def test_metrics_have_words_and_a_unit():
    assert metric_name("mean_daily_excess_bps") == "mean difference, bps per session"
    assert metric_name("sharpe") == "difference of Sharpe ratios"


def test_no_name_of_a_row_is_left_on_the_page(report_data, tmp_path):
    page = render_report(report_data, tmp_path).read_text()
    body = page.split("The verdict in full")[0] + page.split('<section id="equity"')[1]
    for raw in ("put_write", "buy_write", "short_straddle", "buy_and_hold", "clstm_080", "mean_daily", "near_short"):
        assert raw not in body
    assert "PUT: no contract listed" in page
    assert '"name": "PUT"' in page
    assert "against buy and hold" in page


def test_a_name_of_one_word_is_replaced_only_where_it_is_all_there_is(report_data):
    rename = renaming(report_data)
    assert rename("a put_write, not output_write") == "a PUT, not output_write"
    row = {**report_data.backtests[0], "name": "condor"}
    rename = renaming(type(report_data)(run="r", backtests=[row]))
    assert (rename("condor"), rename("far condor wings")) == ("CNDR", "far condor wings")


def test_names_change_and_numbers_do_not(report_data):
    before, after = panels_of(report_data), shown_panels(report_data)
    for old, new in zip(before, after, strict=True):
        assert (old.id, [chart.id for chart in old.charts]) == (new.id, [chart.id for chart in new.charts])
        for one, other in zip(old.charts, new.charts, strict=True):
            assert [trace.get("y") for trace in one.figure["data"] if not _texts(trace.get("y"))] == [
                trace.get("y") for trace in other.figure["data"] if not _texts(trace.get("y"))
            ]
    assert renamed(before[0], str).charts[0].figure == before[0].charts[0].figure


def _texts(values) -> bool:
    return any(isinstance(value, str) for value in values if value is not None) if values is not None else False


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.698, 0.4686, -1.431], ["0.70", "0.47", "-1.43"]),
        ([0.0531, 0.00612], ["0.0531", "0.0061"]),
        ([12.34, -0.001], ["12.34", "0.00"]),
        ([802_816, 327_680], ["802,816", "327,680"]),
        ([3, 0.25, None], ["3.00", "0.25", "–"]),
        ([12_345.6, 0.001], ["12,346", "0.001"]),
        ([1234.5, 900.25], ["1,234", "900"]),
        ([1.5e-7, 2e-6], ["1.5e-07", "2e-06"]),
    ],
)
def test_a_column_has_its_decimals_in_common(values, shown):
    found = charts.table([{"n": value} for value in values], {"n": ("n", "")})
    assert [row[0] for row in found.rows] == shown


def test_a_year_is_no_count():
    assert charts.table([{"year": 2024}], {"year": ("year", "")}).rows == [["2024"]]


def test_every_flow_has_a_colour_of_its_own():
    assert list(FLOWS) == list(ATTRIBUTION)
    assert len(set(FLOWS.values())) == len(FLOWS)


def test_an_axis_in_percent_says_of_what(report_data):
    axes = [chart.figure["layout"]["yaxis"]["title"].get("text") for p in panels_of(report_data) for chart in p.charts]
    assert [title for title in axes if title in ("%", "")] == []


def test_a_column_of_one_word_is_said_once():
    rows = [{"name": f"p{k}", "fills": "touch", "passed": True, "n": 1.0} for k in range(4)]
    shown = {"name": ("policy", ""), "fills": ("fills", ""), "passed": ("passed", ""), "n": ("n", "")}
    found = charts.without_constants(charts.table(rows, shown))
    assert (found.columns, found.note) == (["policy", "passed", "n"], "In every row: fills: touch.")
    assert found.rows[0] == ["p0", "yes", "1.00"]
    few = charts.table(rows[:3], shown)
    assert charts.without_constants(few) == few


def test_the_bars_of_a_month_are_told_apart_by_colour(report_data):
    chart = next(chart for panel in panels_of(report_data) for chart in panel.charts if chart.id == "attribution")
    colours = [trace["marker"]["color"] for trace in chart.figure["data"] if trace["type"] == "bar"]
    assert len(set(colours)) == len(colours) == len(FLOWS)
