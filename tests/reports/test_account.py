"""Figures of the judged account: what they show is what the evidence says, and each has its table."""

import dataclasses

import pytest

from clstm_core.evaluation.evidence import Curve, Evidence
from reports import account_figures, figures
from reports.attribution_figures import attribution_table, profit_words
from reports.critic_figures import calibration_chart
from reports.exposure_figures import exposure_charts
from reports.panels import panels_of
from reports.regime_figures import crises_chart, regime_chart
from reports.return_figures import distribution_chart, month_chart, rolling_charts
from reports.trade_figures import trips_chart, trips_table, worst_table

DATES = ["2024-01-02", "2024-01-03", "2024-01-04"]


def session(date: str, excess: float | None, low: float | None = None, high: float | None = None, **more) -> dict:
    return {"date": date, "excess": excess, "excess_low": low, "excess_high": high, **more}


def test_the_excess_of_the_judged_policy_alone_is_the_first_figure(report_data):
    first = panels_of(report_data)[0]
    assert [chart.id for chart in first.charts] == ["excess"]
    low, band, path = first.charts[0].figure["data"]
    assert (low["showlegend"], band["fill"], path["name"]) == (False, "tonexty", report_data.policy_name)
    assert path["y"][-1] == pytest.approx(100 * report_data.sessions[-1]["excess"])
    assert [caption for caption, _ in first.tables] == ["Tear sheet", "Year by year", "The deepest drawdowns"]


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (-0.02, 0.05, "+1.5% (-2.0% to +5.0%); 0 lies in it: not distinguishable from cash."),
        (0.001, 0.05, "+1.5% (+0.1% to +5.0%); 0 lies outside."),
        (None, None, "Too few sessions for a band."),
    ],
)
def test_the_excess_says_whether_zero_lies_in_its_band(low, high, says):
    rows = [session(DATES[0], 0.0, low and 0.0, high and 0.0), session(DATES[1], 0.015, low, high)]
    chart = account_figures.excess_chart(Evidence(run="r", sessions=rows))
    assert says in chart.caption
    assert len(chart.figure["data"]) == (1 if low is None else 3)
    assert chart.table.rows[1][:2] == ["2024-01-03", "1.50%"]


def test_the_tear_sheet_names_the_capital_and_how_sharpes_ratio_is_worked_out(report_data):
    rows = {row[0]: row[1:] for row in account_figures.tear_sheet_table(report_data).rows}
    capital = f"{report_data.sessions[0]['equity_usd']:,.0f}"
    assert rows["Start capital"][:2] == [capital, DATES[0]]
    value, span, how = rows["Sharpe ratio"]
    assert float(value) == pytest.approx(
        next(row["value"] for row in report_data.tear_sheet if row["figure"] == "Sharpe ratio"), abs=0.005
    )
    assert " to " in span
    assert "in excess of cash" in how
    assert "sqrt(252)" in how
    assert rows["Longest time under water"][0].isdigit()


def test_baselines_are_thin_and_grey_and_the_policy_lies_on_top():
    curves = [
        Curve(name="cash", dates=DATES, equity=[100.0, 101.0, 102.0]),
        Curve(name="mine", dates=DATES, equity=[100.0, 99.0, 103.0], is_policy=True),
    ]
    chart = figures.equity_charts(Evidence(run="r", curves=curves))[0]
    other, mine = chart.figure["data"]
    assert (other["name"], mine["name"]) == ("cash", "mine")
    assert (other["line"]["color"], other["line"]["width"]) == (figures.GREYS[0], 1.1)
    assert mine["line"]["width"] > 2
    assert "type" not in chart.figure["layout"]["yaxis"]


def test_equities_far_apart_are_drawn_on_a_log_axis_and_tabled_in_percent():
    curves = [
        Curve(name="mine", dates=DATES, equity=[100.0, 99.0, 103.0], is_policy=True),
        Curve(name="index", dates=DATES, equity=[50.0, 60.0, 100.0]),
    ]
    chart, fall = figures.equity_charts(Evidence(run="r", curves=curves))
    assert chart.figure["layout"]["yaxis"]["type"] == "log"
    assert chart.figure["data"][0]["y"] == pytest.approx((100, 120, 200))
    assert chart.table.rows[-1] == ["2024-01-04", "3.00%", "100.00%"]
    assert "type" not in fall.figure["layout"]["yaxis"]
    ruined = [*curves, Curve(name="ruined", dates=DATES, equity=[10.0, 1.0, -1.0])]
    assert "type" not in figures.equity_charts(Evidence(run="r", curves=ruined))[0].figure["layout"]["yaxis"]


MONTH = {"delta_usd": 50.0, "carry_usd": 60.0, "residual_usd": -10.0}


def test_the_excess_is_split_with_a_row_of_sums_and_large_months_flagged():
    rows = [
        {"month": "2024-01", **MONTH, "cash_usd": 40.0, "residual_share": 0.08, "large": False},
        {"month": "2024-02", **MONTH, "cash_usd": 45.0, "residual_share": 0.3, "large": True},
    ]
    data = Evidence(run="r", attribution=rows, residual_share=0.19)
    table = attribution_table(data)
    cells = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["month"] for row in cells] == ["all", "2024-01", "2024-02"]
    assert [row["excess over cash"] for row in cells] == ["115", "60", "55"]
    assert [row["carry beyond cash"] for row in cells] == ["35", "20", "15"]
    assert (cells[0]["profit"], cells[0]["of it cash's"]) == ("200", "85")
    assert [row["flag"] for row in cells] == ["", "", "large residual"]


def test_the_page_says_how_much_of_the_profit_is_interest():
    rows = [{"month": "2024-01", **MONTH, "cash_usd": 81.0, "large": True}]
    words = profit_words(Evidence(run="r", attribution=rows))
    assert "earned 100 USD; the same capital left as cash would have earned 81 (81% of it)" in words
    assert "Beyond cash: +19 USD = delta +50, carry beyond cash -21, residual -10." in words
    assert "in 1 of 1 months: 2024-01" in words
    assert "larger than the excess" not in words
    lost = [{"month": "2024-01", "delta_usd": -100.0, "carry_usd": 81.0, "residual_usd": 0.0, "cash_usd": 81.0}]
    assert "of it)" not in profit_words(Evidence(run="r", attribution=lost))
    assert profit_words(Evidence(run="r")) == ""


def test_a_residual_larger_than_the_excess_is_said():
    rows = [{"month": "2024-01", "delta_usd": 5.0, "carry_usd": 10.0, "residual_usd": 20.0, "cash_usd": 30.0}]
    assert "The residual is larger than the excess itself" in profit_words(Evidence(run="r", attribution=rows))


def test_months_stand_in_their_year(report_data):
    chart = month_chart(report_data)
    heat = chart.figure["data"][0]
    assert [label[:4] for label in heat["y"]] == ["2024", "2025"]
    february = next(row["return"] for row in report_data.months if row["period"] == "2024-02")
    assert heat["z"][0][1] == pytest.approx(100 * february)
    assert heat["z"][1][11] is None
    assert len(chart.table.rows) == len(report_data.months)


def test_rolling_figures_are_said_to_be_per_session(report_data):
    ratio, deviation = rolling_charts(report_data)
    assert "per session" in ratio.caption
    assert ratio.figure["data"][0]["y"][62] is None
    assert deviation.figure["data"][0]["y"][-1] == pytest.approx(100 * report_data.sessions[-1]["rolling_deviation"])


def test_the_distribution_holds_every_session(report_data):
    chart = distribution_chart(report_data)
    assert sum(chart.figure["data"][0]["y"]) == len(report_data.sessions) - 1
    value = next(row["value"] for row in report_data.tear_sheet if row["figure"] == "VaR 95, one day")
    assert chart.figure["layout"]["shapes"][0]["x0"] == pytest.approx(100 * value)
    flat = [session(date, 0.0, **{"return": 0.0}) for date in DATES]
    assert distribution_chart(Evidence(run="r", sessions=flat)) is None


def test_the_book_is_drawn_under_its_caps(report_data):
    charts = {chart.id: chart for chart in exposure_charts(report_data)}
    assert list(charts) == [
        f"book-{name}" for name in ("exposure", "crash", "margin", "legs", "delta", "gamma", "vega", "theta")
    ]
    names = [trace["name"] for trace in charts["book-exposure"].figure["data"]]
    assert names == ["net, size", "gross", "cap of net: 100", "cap of gross: 200"]
    assert [trace["name"] for trace in charts["book-vega"].figure["data"]] == ["vega"]  # no cap was set
    assert min(charts["book-vega"].figure["data"][0]["y"]) < 0.0  # it says on which side
    capped = dataclasses.replace(report_data, caps={"vega_per_point": 0.005})
    vega = {chart.id: chart for chart in exposure_charts(capped)}["book-vega"]
    assert [trace["name"] for trace in vega.figure["data"]] == ["vega", "cap: +0.5", "cap: -0.5"]
    assert charts["book-margin"].figure["data"][0]["y"][7] == pytest.approx(100 * report_data.sessions[7]["margin"])


def test_trips_are_counted_and_the_worst_come_first(report_data):
    chart = trips_chart(report_data)
    assert sum(len(trace["x"]) for trace in chart.figure["data"]) == len(report_data.trades)
    table = trips_table(report_data)
    assert [row[0] for row in table.rows] == ["near_short_strangle", "all"]
    losses = [float(row[5].replace(",", "")) for row in worst_table(report_data).rows]
    assert losses == sorted(losses)
    assert losses[0] == round(min(trade["pnl_usd"] for trade in report_data.trades))
    still = [{**report_data.trades[0], "closed": None}]
    assert trips_chart(dataclasses.replace(report_data, trades=still)) is None


def test_regimes_and_crises_are_drawn_with_what_they_are_sorted_by(report_data):
    chart = regime_chart(report_data)
    assert report_data.regimes_words in chart.caption
    assert [name.partition("<br>")[0] for name in chart.figure["data"][0]["x"]] == ["calm", "middle", "wild"]
    crises = crises_chart(report_data)
    assert list(crises.figure["data"][0]["y"]) == ["Yen carry trade"]
    panel = next(panel for panel in panels_of(dataclasses.replace(report_data, crises=[])) if panel.id == "regimes")
    assert "No named crisis" in panel.message


def test_without_a_judged_policy_every_panel_says_so():
    said = {panel.id: panel.message for panel in panels_of(Evidence(run="r"))}
    for name in ("excess", "attribution", "returns", "regimes", "book", "trips"):
        assert said[name].startswith("No ")


def test_what_the_critic_foresaw_is_drawn_beside_the_line_of_agreement(report_data):
    chart = calibration_chart(report_data)
    bins, line = chart.figure["data"]
    assert list(bins["x"]) == [row["foreseen"] for row in report_data.calibration]
    assert list(line["x"]) == list(line["y"]) == [min(bins["x"]), max(bins["x"])]
    assert bins["error_y"]["array"][0] == pytest.approx(
        report_data.calibration[0]["high"] - report_data.calibration[0]["seen"]
    )
    assert calibration_chart(Evidence(run="r")) is None
