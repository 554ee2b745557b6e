"""Rendering: every panel always there, everything escaped, every figure labelled."""

import dataclasses
import json
import re

import pytest

from clstm_core.errors import ReportError
from clstm_core.evaluation.evidence import Curve, Evidence
from reports import charts, figures
from reports.attribution_figures import attribution_chart
from reports.ladder_figures import headline_pairs, ladder_chart, overfitting_chart
from reports.panels import panels_of
from reports.render import CSP, figure_count, label_kind, render_report, shortness
from reports.training_figures import training_charts

EVIL = "<script>alert('x')</script></script><!--\"&"
ACCOUNT = (
    *("sessions", "tear_sheet", "years", "months", "drawdowns", "trades", "trade_figures", "worst_trades", "regimes"),
    *("crises", "calibration"),
)
ROWS = (
    "backtests",
    "worlds",
    "attribution",
    "actions",
    "ladder",
    "overfitting",
    "training",
    "gates",
    "quality",
    "parity",
    "generalisation",
    "habits",
    "rules",
    "sins",
    "delays",
    "costs",
    "break_evens",
    "tilt",
    "tilt_months",
)
PANELS = (
    *(
        "verdict",
        "excess",
        "equity",
        "sureness",
        "worlds",
        "conventions",
        "costs",
        "delay",
        "attribution",
        "tilt",
        "returns",
        "regimes",
        "book",
        "trading",
        "trips",
    ),
    *("fill-lag", "ladder", "generalisation", "training"),
    *("realism", "gates", "quality", "bundle"),
)


def figures_in(page: str) -> list[dict]:
    """The figures' JSON as the page's script reads it."""
    blocks = re.findall(r'<script type="application/json" data-chart="[^"]+">(.*?)</script>', page, flags=re.S)
    return [json.loads(block) for block in blocks]


def test_a_full_report_has_every_panel_and_shared_files(report_data, tmp_path):
    index = render_report(report_data, tmp_path)
    page = index.read_text()
    assert index == tmp_path / "demo" / "index.html"
    assert [identity for identity in PANELS if f'<section id="{identity}"' not in page] == []
    shared = {"plotly.min.js", "report.js", "gallery.js", "report.css", "index.html", "compare.html"}
    assert {*shared, "demo"} == {p.name for p in tmp_path.iterdir()}
    assert len(figures_in(page)) == figure_count(index) == 48
    assert page.count('<details class="data">') == 48
    assert not re.search(r"(?:src|href)=.(?:https?:)?//", page), "nothing may come from a network"


def test_every_figure_carries_the_data_label(report_data, tmp_path):
    page = render_report(report_data, tmp_path).read_text()
    subtitles = {figure["layout"]["title"]["subtitle"]["text"] for figure in figures_in(page)}
    assert subtitles == {
        "modelled quotes, modelled spread",
        "modelled quotes, modelled spread; no result: nobody may judge so",
        "trained on simulated quotes",
        "worlds: simulated quotes; dates: modelled quotes",
    }
    assert "nobody quoted them" in page


def test_published_values_are_named_as_from_a_broken_environment(report_data, tmp_path):
    page = render_report(report_data, tmp_path).read_text()
    names = [trace.get("name", "") for figure in figures_in(page) for trace in figure["data"]]
    published = [name for name in names if "published" in name]
    assert "final 0.053 (published run; its environment was broken)" in published
    assert all(name.endswith("(published run; its environment was broken)") for name in published)
    assert len(published) == 16


def test_an_empty_report_says_in_sentences_what_is_missing(tmp_path):
    page = render_report(Evidence(run="empty"), tmp_path).read_text()
    assert figures_in(page) == []
    assert [identity for identity in PANELS if f'<section id="{identity}"' not in page] == []
    for sentence in ("No verdict:", "No curve to draw", "No comparison of checkpoints", "No training metrics"):
        assert sentence in page
    assert "quotes of unknown origin" in page


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), "many"])
def test_values_that_are_no_numbers_break_nothing(report_data, tmp_path, bad):
    def spoil(rows):
        return [{key: bad if isinstance(value, float) else value for key, value in row.items()} for row in rows]

    spoilt = dataclasses.replace(
        report_data,
        n_sessions=None,
        curves=[
            dataclasses.replace(c, equity=[None if bad == "many" else bad] * len(c.dates)) for c in report_data.curves
        ],
        **{name: spoil(getattr(report_data, name)) for name in (*ROWS, *ACCOUNT)},
    )
    page = render_report(spoilt, tmp_path).read_text()
    assert "NaN" not in "".join(json.dumps(figure) for figure in figures_in(page))


def test_growth_and_gap_are_drawn_by_kind_of_market_with_their_intervals(report_data, tmp_path):
    page = render_report(report_data, tmp_path).read_text()
    growth, gap = (found for found in figures_in(page) if "trained" in found["layout"]["title"]["text"])
    assert [trace["name"] for trace in growth["data"]] == [
        *("the worlds of training", "fresh worlds of the same families", "validation dates"),
    ]
    assert all(trace["error_y"]["array"] == pytest.approx([1.0] * 5) for trace in growth["data"])
    fresh, dates = gap["data"]
    assert fresh["y"] == pytest.approx([0.0, 0.9, 1.8, 2.7, 3.6])
    assert fresh["error_y"]["arrayminus"] == pytest.approx([1.2] * 5)
    assert dates["error_y"]["array"] == [None] * 5
    panel = page.split('<section id="generalisation"')[1].split("</section>")[0]
    assert panel.index("memorised.") < panel.index("In calm markets it waits") < panel.index("<figure ")
    assert panel.count('<p class="message">') == 3, "the answer, the rules, the habits"
    assert "sells a strangle of the near expiry" in panel
    assert "simulated quotes" in panel


def test_text_from_data_is_escaped_everywhere(report_data, tmp_path):
    hostile = dataclasses.replace(
        report_data,
        verdict=EVIL,
        verdict_points=[EVIL],
        trained_on=EVIL,
        label=EVIL,
        provenance=[(EVIL, EVIL)],
        curves=[dataclasses.replace(curve, name=EVIL) for curve in report_data.curves[:1]],
        gates=[{"gate": EVIL, "name": EVIL, "detail": EVIL, "passed": True}],
        quality=[{"check": EVIL, "detail": EVIL}],
        actions=[{"action": EVIL, "count": 1, "share": 1.0}],
        generalisation=[{**row, "where": EVIL, "label": EVIL} for row in report_data.generalisation],
        generalisation_answer=EVIL,
        habits=[{"action": EVIL, "calm": 1.0}],
        habits_words=EVIL,
        rules=[{"rule": EVIL}],
        rules_words=EVIL,
        trained_label=EVIL,
    )
    page = render_report(hostile, tmp_path).read_text()
    gallery = (tmp_path / "index.html").read_text()
    assert "<script>alert" not in page + gallery
    scripts = re.findall(r"<script([^>]*)>", page)
    assert [
        attributes for attributes in scripts if "application/json" not in attributes and "src=" not in attributes
    ] == []
    assert EVIL in [trace.get("name") for figure in figures_in(page) for trace in figure["data"]]


@pytest.mark.parametrize("run", ["", "..", "../evil", "a/b", "a\\b", ".hidden", "x\0"])
def test_a_run_that_cannot_be_a_folder_is_refused(run, tmp_path):
    with pytest.raises(ReportError, match="cannot name a report's folder"):
        render_report(Evidence(run=run), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_policy_admits_scripts_from_files_beside_the_page_alone(report_data, tmp_path):
    page = render_report(report_data, tmp_path).read_text()
    assert "default-src 'none'; script-src 'self';" in CSP
    assert "unsafe-eval" not in CSP
    assert page.index("Content-Security-Policy") < page.index("<link")


def test_the_gallery_lists_every_report_newest_first(tmp_path):
    for run, moment in (("old", "2026-01-01 10:00 UTC"), ("new", "2026-02-01 10:00 UTC")):
        render_report(Evidence(run=run, generated_at=moment, label="simulated quotes", verdict=f"{run} one"), tmp_path)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "summary.json").write_text("{")
    render_report(Evidence(run="old", generated_at="2026-01-01 10:00 UTC", verdict="again"), tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert re.findall(r'href="(\w+)/index.html"', page) == ["new", "old"]
    assert "again" in page
    assert "simulated quotes" in page


def test_rendering_again_leaves_the_same_files(report_data, tmp_path):
    first = render_report(report_data, tmp_path).read_text()
    assert render_report(report_data, tmp_path).read_text() == first
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_short_window_is_said_to_be_short():
    assert "12 sessions: too few" in shortness(Evidence(run="r", n_sessions=12))
    assert shortness(Evidence(run="r", n_sessions=250)) == ""


@pytest.mark.parametrize(
    ("label", "kind"),
    [("real quotes", "real"), ("modelled quotes", "modelled"), ("simulated quotes", "simulated"), (None, "unknown")],
)
def test_labels_have_their_kind(label, kind):
    assert label_kind(label) == kind


def test_growth_and_drawdown_are_percent_of_start_and_peak():
    curve = Curve(name="c", dates=["1", "2", "3", "4", "5"], equity=[200.0, 220.0, None, 165.0, 240.0])
    assert figures.growth(curve) == [0.0, pytest.approx(10.0), None, pytest.approx(-17.5), pytest.approx(20.0)]
    assert figures.drawdown(curve) == [0.0, 0.0, None, pytest.approx(-25.0), 0.0]


def test_a_large_residual_is_flagged():
    def words(share: float) -> str:
        rows = [{"month": "2026-01", "delta_usd": 70.0, "residual_usd": 30.0}]
        return attribution_chart(Evidence(run="r", attribution=rows, residual_share=share)).caption

    assert "Large: the Greeks explain this book poorly" in words(0.26)
    assert "Large" not in words(0.25)
    assert "Residual, what the Greeks do not explain: 12.00% of all movement" in words(0.12)


@pytest.mark.parametrize(
    ("headline", "shown"), [(("touch", 1.0), ["10.00%", "20.00%"]), (("fraction", 0.56), ["30.00%", "40.00%"])]
)
def test_fill_lags_are_compared_at_the_fills_of_the_headline(headline, shown):
    fills = {("touch", 1.0): (0.1, 0.2), ("fraction", 0.56): (0.3, 0.4), ("fraction", 0.0): (0.5, 0.6)}
    rows = [
        {"name": "cash", "fill_lag": lag, "fill_rule": rule, "fill_fraction": part, "total_return": value}
        | {"headline": (rule, part) == headline and lag == 1}
        for (rule, part), values in fills.items()
        for lag, value in zip((1, 0), values, strict=True)
    ]
    curve = Curve(name="cash", dates=["2026-01-02", "2026-01-05"], equity=[1.0, 2.0])
    chart = figures.lag_chart(Evidence(run="r", curves=[curve], backtests=rows))
    assert chart.table.rows == [["cash", *shown]]


def test_gates_say_how_many_failed_and_block():
    gates = [
        {"gate": "environment_audit", "name": "fees", "passed": False, "blocking": True, "statistic": 12_345.6},
        {"gate": "comparison", "name": "beats_baselines", "passed": False, "blocking": False},
        {"gate": "comparison", "name": "every_rung_scored", "passed": True, "blocking": True},
    ]
    panel = next(panel for panel in panels_of(Evidence(run="r", gates=gates)) if panel.id == "gates")
    assert panel.message == "3 checks, 2 failed, 1 of them blocking."
    (_, audit), (_, others) = panel.tables
    assert audit.rows == [["fees", "no", "yes", "12,346"]]
    assert others.failed == [True, False]


def test_proofs_of_two_markets_say_which_each_is_of():
    proof = {"gate": "environment_audit", "name": "fees", "passed": True, "blocking": True}
    gates = [{**proof, "data_sha256": "a" * 64}, {**proof, "data_sha256": "b" * 64}]
    known = [("market tensors", "a" * 64), ("training market", "b" * 64)]
    data = Evidence(run="r", gates=gates, provenance=known, parity=[{"runtime": "onnx", "passed": True}])
    panel = next(panel for panel in panels_of(data) if panel.id == "gates")
    assert [row[1] for row in panel.tables[0][1].rows] == ["market tensors", "training market"]
    assert panel.message.endswith("1 more, of parity, stand under Bundle and parity.")


def test_a_few_dates_have_a_tick_each():
    curve = Curve(name="cash", dates=["2026-01-02", "2026-01-05"], equity=[1.0, 2.0])
    chart = figures.equity_charts(Evidence(run="r", curves=[curve]))[0]
    assert chart.figure["layout"]["xaxis"]["type"] == "category"


def test_the_ladder_shows_headline_fills_against_the_main_baselines():
    row = {"milestone": "020", "against": "cash", "window": "test", "fill_lag": 1, "metric": "mean_daily_excess_bps"}
    rows = [
        {**row, "estimate": 1.0},
        {**row, "estimate": 2.0, "fill_lag": 0},
        {**row, "estimate": 3.0, "mode": "stochastic"},
        {**row, "estimate": 4.0, "fill_rule": "fraction 0.56"},
        {**row, "estimate": 5.0, "metric": "sharpe"},
        {**row, "estimate": 6.0, "against": "put_write"},
    ]
    chosen = headline_pairs(Evidence(run="r", ladder=rows))
    assert [pair["estimate"] for pair in chosen] == [1.0, 3.0], "both modes"
    inside = [{**pair, "headline": pair.get("fill_rule") == "fraction 0.56"} for pair in rows]
    chosen = headline_pairs(Evidence(run="r", ladder=inside))
    assert [pair["estimate"] for pair in chosen] == [4.0]


def test_device_memory_is_drawn_where_there_was_a_device(report_data):
    def titles(memory):
        rows = [{**row, "gpu_memory_mb": memory} for row in report_data.training]
        return [chart.title for chart in training_charts(dataclasses.replace(report_data, training=rows))]

    assert "Device memory" in titles(512.0)
    assert "Device memory" not in titles(0.0)
    assert len(titles(512.0)) == len(titles(0.0)) + 1


def test_the_ladder_draws_cash_first_and_the_rest_on_demand(report_data):
    chart = ladder_chart(report_data)
    shown = {trace["name"]: trace["visible"] for trace in chart.figure["data"]}
    assert shown == {
        "test window, against cash, argmax": True,
        "validation window, against cash, argmax": True,
        "test window, against buy_and_hold, argmax": "legendonly",
        "validation window, against buy_and_hold, argmax": "legendonly",
    }
    places = [place for trace in chart.figure["data"] for place in trace["x"]]
    assert len(set(places)) == len(places), "no mark hides another"
    alone = dataclasses.replace(report_data, ladder=[row for row in report_data.ladder if row["against"] != "cash"])
    assert {trace["visible"] for trace in ladder_chart(alone).figure["data"]} == {True}


def test_the_gap_between_trained_on_and_not_has_its_interval(report_data):
    gap = overfitting_chart(report_data).figure["data"][2]
    assert list(gap["y"]) == [0.4] * 5
    assert list(gap["error_y"]["array"]) == pytest.approx([1.5] * 5)
    assert list(gap["error_y"]["arrayminus"]) == pytest.approx([1.4] * 5)


def test_long_series_and_tables_are_thinned_with_both_ends_kept():
    assert charts.thin(range(10_001), 5) == [0, 2500, 5000, 7500, 10_000]
    table = charts.table([{"n": k} for k in range(1000)], {"n": ("n", "count")})
    assert (table.rows[0], table.rows[-1], len(table.rows)) == (["0"], ["999"], charts.MAX_TABLE_ROWS)
    assert "250 of 1000 rows" in table.note


def test_one_session_or_one_iteration_is_enough_not_to_fail():
    data = Evidence(
        run="r",
        curves=[Curve(name="cash", dates=["2026-01-02"], equity=[1.0], is_policy=True)],
        training=[{"env_steps": 64, "approx_kl": 0.01}],
    )
    shown = {panel.id: len(panel.charts) for panel in panels_of(data)}
    assert (shown["equity"], shown["training"]) == (0, 1)


def test_the_worlds_stand_side_by_side_with_their_intervals(report_data):
    panel = next(panel for panel in panels_of(report_data) if panel.id == "worlds")
    (_, table), (chart,) = panel.tables[0], panel.charts
    assert table.columns == [
        "policy",
        *(
            f"{world}: {what}"
            for world in ("calibrated", "zero-premium", "stressed")
            for what in ("return", "less cash, % per year")
        ),
    ]
    cells = {row[0]: row[1:] for row in table.rows}
    assert list(cells) == [curve.name for curve in report_data.curves]
    assert cells["clstm_080_argmax"] == [
        *("5.00%", "+1.2 (-0.8 to +3.2)"),
        *("2.00%", "+0.2 (-1.8 to +2.2)"),
        *("-1.00%", "-0.8 (-2.8 to +1.2)"),
    ]
    assert cells["cash"][1] == charts.NOTHING
    assert cells["random"][2:4] == [charts.NOTHING] * 2
    stressed = next(trace for trace in chart.figure["data"] if trace["name"] == "stressed")
    assert set(stressed["x"]) == {-0.75}
    assert set(stressed["error_x"]["array"]) == set(stressed["error_x"]["arrayminus"]) == {2.0}
    assert len(stressed["x"]) == len(report_data.curves) - 1  # cash is what the others are measured from
    assert stressed["text"] == [curve.name for curve in report_data.curves if curve.name != "cash"]


def test_where_there_are_no_worlds_that_is_said():
    panel = next(panel for panel in panels_of(Evidence(run="r")) if panel.id == "worlds")
    assert (panel.charts, panel.tables) == ([], [])
    assert "No other worlds:" in panel.message


def test_sins_stand_after_what_they_are_measured_from_and_are_called_what_they_are(report_data):
    panels = {panel.id: panel for panel in panels_of(report_data)}
    (sins,), (delays,), (costs,) = (panels[name].charts for name in ("conventions", "delay", "costs"))
    assert [row[0] for row in sins.table.rows] == [row["title"] for row in report_data.sins]
    marks = sins.figure["data"][0]
    assert list(marks["x"]) == [0.5, -0.1]  # a sin without a Sharpe ratio has no mark
    assert list(marks["marker"]["symbol"]) == ["diamond", "circle"]
    impossible = next(trace for trace in delays.figure["data"] if "impossible" in trace["name"])
    assert list(impossible["x"]) == [-2, -1]
    assert len(costs.figure["data"]) == len(report_data.curves) - 1  # cash is what the others are measured from
    assert "clstm_100_argmax" in {row[0] for row in costs.table.rows}


def test_where_no_convention_was_switched_that_is_said():
    panels = {panel.id: panel for panel in panels_of(Evidence(run="r"))}
    for name in ("conventions", "costs", "delay", "tilt"):
        assert (panels[name].charts, panels[name].tables) == ([], [])
        assert "not made yet" in panels[name].message
