"""What the judged account earned in calm and in wild markets, and in named crises."""

from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from reports.account_figures import percents
from reports.charts import Chart, Table, framed, has_values, number, table
from reports.palette import OKABE_ITO


def regime_chart(data: Evidence) -> Chart | None:
    """Mean excess over cash per session by third of volatility, with its interval; None where there is no regime."""
    rows = [row for row in data.regimes if number(row.get("excess_bps")) is not None]
    if not rows:
        return None
    title = "Excess over cash in calm and wild markets"
    reach = {
        side: [None if (end := number(row.get(key))) is None else abs(end - row["excess_bps"]) for row in rows]
        for side, key in (("array", "high_bps"), ("arrayminus", "low_bps"))
    }
    marks = go.Scatter(
        x=[_name(row) for row in rows],
        y=[row["excess_bps"] for row in rows],
        error_y={"type": "data", "symmetric": False, **reach},
        mode="markers",
        marker={"size": 10, "color": OKABE_ITO[0]},
        name=data.policy_name,
        showlegend=False,
    )
    layout: dict[str, Any] = {"xaxis": {"type": "category"}, "hovermode": "closest"}
    bars = (
        "Bars are bootstrap intervals of each third's sessions; where one crosses zero, policy and cash are not "
        "distinguishable there."
    )
    if not has_values(rows, "low_bps"):
        bars = "No third has sessions enough for an interval: none of these is told from zero."
    return Chart(
        id="regimes",
        title=title,
        figure=framed([marks], title, data.data_label, "bps per session", **layout),
        caption=f"Sessions in thirds by {data.regimes_words}. {bars}",
        table=regimes_table(data),
    )


def regimes_table(data: Evidence) -> Table:
    """Every third of volatility with what it earned."""
    columns = {
        "regime": ("regime", ""),
        "from_vol": ("volatility from", "percent"),
        "to_vol": ("to", "percent"),
        "sessions": ("sessions", "count"),
        "growth": ("return", "percent"),
        "cash": ("cash", "percent"),
        "underlying": ("index, price alone", "percent"),
        "excess_bps": ("excess, bps per session", ""),
        "low_bps": ("from", ""),
        "high_bps": ("to", ""),
        "winning": ("days ahead of cash", "percent"),
        "worst": ("worst day", "percent"),
    }
    return table(data.regimes, columns)


def crises_chart(data: Evidence) -> Chart | None:
    """Return in each crisis beside the index's; None where none lies in the window."""
    rows = [row for row in data.crises if number(row.get("growth")) is not None]
    if not rows:
        return None
    title = "Named crises"
    names = [str(row.get("crisis")) for row in rows]
    traces = [
        go.Bar(x=percents(rows, key), y=names, orientation="h", name=name, marker={"color": OKABE_ITO[colour]})
        for key, name, colour in (("growth", data.policy_name, 0), ("underlying", "index, price alone", 6))
    ]
    layout: dict[str, Any] = {
        "height": 190 + 56 * len(rows),
        "xaxis": {"title": {"text": "return, %"}, "zeroline": True},
        "yaxis": {"type": "category", "autorange": "reversed", "title": None},
        "hovermode": "closest",
    }
    columns = {
        "crisis": ("crisis", ""),
        "first_date": ("from the close of", ""),
        "last_date": ("to the close of", ""),
        "sessions": ("sessions", "count"),
        "growth": ("return", "percent"),
        "cash": ("cash", "percent"),
        "underlying": ("index, price alone", "percent"),
        "max_drawdown": ("largest drawdown within", "percent"),
        "source": ("dates by", ""),
    }
    return Chart(
        id="crises",
        title=title,
        figure=framed(traces, title, data.data_label, "", **layout),
        caption="Named stretches, chosen by what the index did and not by what any policy did; those that lie whole in "
        "the window.",
        table=table(rows, columns),
    )


def _name(row: dict[str, Any]) -> str:
    low, high = number(row.get("from_vol")), number(row.get("to_vol"))
    span = "" if low is None or high is None else f"<br>{100 * low:.0f}% to {100 * high:.0f}%"
    return f"{row.get('regime')}{span}"
