"""Returns of the judged account: by month, over rolling windows, and how they are spread."""

from math import log10
from statistics import NormalDist, mean, stdev
from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from clstm_core.evaluation.figures import ROLLING
from reports.account_figures import percents
from reports.charts import REFERENCE, Chart, framed, line, number, table
from reports.palette import OKABE_ITO

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
SCALE = [[0.0, "#D55E00"], [0.5, "#F2F2F2"], [1.0, "#56B4E9"]]
"""Losses orange, profits blue: told apart by the colour-blind, too."""

BINS = 51


def month_chart(data: Evidence) -> Chart | None:
    """Every month's return, years down and months across; None where no month is known."""
    found = {str(row.get("period")): number(row.get("return")) for row in data.months}
    known = [value for value in found.values() if value is not None]
    if not known:
        return None
    totals = {str(row.get("period")): number(row.get("return")) for row in data.years}
    years = sorted({period[:4] for period in found})
    grid = [[found.get(f"{year}-{month:02d}") for month in range(1, 13)] for year in years]
    percent = [[None if value is None else 100.0 * value for value in row] for row in grid]
    most = max(abs(value) for value in known) * 100.0 or 1.0
    title = "Return per month"
    heat = go.Heatmap(
        x=list(MONTHS),
        y=[year if (total := totals.get(year)) is None else f"{year}: {100 * total:+.1f}%" for year in years],
        z=percent,
        text=[
            ["" if value is None else f"{value:+.{0 if abs(value) >= 10 else 1}f}" for value in row] for row in percent
        ],
        texttemplate="%{text}",
        hovertemplate="%{x} %{y}<br>%{z:.2f}%<extra></extra>",
        colorscale=SCALE,
        zmin=-most,
        zmax=most,
        xgap=2,
        ygap=2,
        showscale=False,
    )
    layout: dict[str, Any] = {
        "height": 130 + 34 * len(years),
        "xaxis": {"showgrid": False},
        "yaxis": {"type": "category", "autorange": "reversed", "title": None, "showgrid": False},
        "hovermode": "closest",
    }
    columns = {
        "period": ("month", ""),
        "sessions": ("sessions", "count"),
        "return": ("return", "percent"),
        "cash": ("cash", "percent"),
        "excess": ("less cash", "percent"),
        "underlying": ("index, price alone", "percent"),
    }
    return Chart(
        id="months",
        title=title,
        figure=framed([heat], title, data.data_label, "", **layout),
        caption="Percent of the equity at the month's start, interest included; beside each year, the year's own. "
        "Months that the window cuts count as far as it reaches.",
        table=table(data.months, columns),
    )


def rolling_charts(data: Evidence) -> list[Chart]:
    """Mean over deviation, and deviation, of the last quarter's excess returns."""
    dates = [row.get("date") for row in data.sessions]
    shown = (
        (
            "rolling_ratio",
            f"Mean over deviation, {ROLLING} sessions",
            "mean / deviation, per session",
            1.0,
            f"Of daily returns in excess of cash over the last {ROLLING} sessions: the Sharpe ratio of a quarter, per "
            "session: a quarter is too short to be annualised.",
        ),
        (
            "rolling_deviation",
            f"Volatility, {ROLLING} sessions",
            "deviation of daily returns, %",
            100.0,
            f"Sample deviation of daily returns in excess of cash over the last {ROLLING} sessions, per session.",
        ),
    )
    charts = []
    for key, title, unit, scale, caption in shown:
        values = [None if (value := number(row.get(key))) is None else scale * value for row in data.sessions]
        if not any(value is not None for value in values):
            continue
        charts.append(
            Chart(
                id=key.replace("_", "-"),
                title=title,
                figure=framed([line(dates, values, data.policy_name)], title, data.data_label, unit),
                caption=caption,
                table=table(
                    [{"date": date, "value": value} for date, value in zip(dates, values, strict=True)],
                    {"date": ("date", ""), "value": (unit, "")},
                ),
            )
        )
    return charts


def distribution_chart(data: Evidence) -> Chart | None:
    """How often each daily return came, beside a normal distribution of the same mean and deviation."""
    returns = [value for value in percents(data.sessions, "return") if value is not None]
    if len(returns) < 2 or max(returns) <= min(returns):
        return None
    low = min(returns)
    width = (max(returns) - low) / BINS
    counts = [0] * BINS
    for value in returns:
        counts[min(BINS - 1, int((value - low) / width))] += 1
    centres = [low + (k + 0.5) * width for k in range(BINS)]
    normal = NormalDist(mean(returns), stdev(returns))
    bell = [len(returns) * width * normal.pdf(at) for at in centres]
    title = "Daily returns"
    traces = [
        go.Bar(x=centres, y=counts, width=width, name="sessions", marker={"color": OKABE_ITO[0]}),
        go.Scatter(
            x=centres,
            y=[expected if expected > 0.5 else None for expected in bell],
            name="normal, same mean and deviation",
            mode="lines",
            line={"color": REFERENCE, "dash": "dash", "width": 1.6},
        ),
    ]
    marks = {
        str(row["figure"]).partition(",")[0]: 100.0 * known
        for row in data.tear_sheet
        if row.get("figure") in ("VaR 95, one day", "CVaR 95, one day")
        and (known := number(row.get("value"))) is not None
    }
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "daily return, %"}},
        "yaxis": {
            "type": "log",
            "dtick": "D2",  # 1, 2, 5, 10: names of every digit would lie on each other
            "title": {"text": "sessions (log)"},
            "range": [-0.3, log10(max(counts)) + 0.2],
        },
        "shapes": [
            {
                "type": "line",
                "x0": at,
                "x1": at,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": {"color": "#D55E00", "width": 1.4},
            }
            for at in marks.values()
        ],
        "annotations": [
            {"x": at, "y": 1, "yref": "paper", "yanchor": "top", "xanchor": side, "text": name, "showarrow": False}
            for (name, at), side in zip(marks.items(), ("left", "right"), strict=False)
        ],
        "bargap": 0,
        "hovermode": "closest",
    }
    rows = [
        {"from": centre - width / 2, "to": centre + width / 2, "sessions": count}
        for centre, count in zip(centres, counts, strict=True)
        if count
    ]
    return Chart(
        id="distribution",
        title=title,
        figure=framed(traces, title, data.data_label, "", **layout),
        caption=f"{len(returns):,} sessions, on a log scale so that single bad days show. Left of VaR 95 lies one "
        "session in twenty; CVaR 95 is their mean.",
        table=table(rows, {"from": ("from, %", ""), "to": ("to, %", ""), "sessions": ("sessions", "count")}),
    )
