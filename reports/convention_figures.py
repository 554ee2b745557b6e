"""What sins of evaluation would have bought, how the policy bears delay and spread, and tilt against timing."""

from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from reports.charts import REFERENCE, Chart, Table, framed, line, number, table
from reports.palette import OKABE_ITO

NO_RESULT = "no result: nobody may judge so"
CLEAN, FLATTERED = OKABE_ITO[0], OKABE_ITO[1]


def sins_chart(data: Evidence) -> Chart | None:
    """What each sin adds to the Sharpe ratio, with its interval; None where none has a figure."""
    rows = [row for row in data.sins if number(row.get("inflation")) is not None]
    if not rows:
        return None
    told = [number(row.get("ci_low")) is not None and float(row["ci_low"]) > 0.0 for row in rows]
    marks = go.Scatter(
        x=[number(row["inflation"]) for row in rows],
        y=[row["title"] for row in rows],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [_reach(row, "inflation", "ci_high") for row in rows],
            "arrayminus": [_reach(row, "inflation", "ci_low") for row in rows],
            "color": REFERENCE,
        },
        mode="markers",
        marker={
            "size": 9,
            "color": [FLATTERED if flag else CLEAN for flag in told],
            "symbol": ["diamond" if flag else "circle" for flag in told],
        },
        hovertemplate="%{y}: %{x:+.2f}<extra></extra>",
        showlegend=False,
    )
    title, per = "What each sin adds to the Sharpe ratio", f"added, per {rows[0]['per']}"
    layout: dict[str, Any] = {
        "height": 200 + 44 * len(rows),
        "xaxis": {"title": {"text": per}, "zeroline": True},
        "yaxis": {"autorange": "reversed", "title": None, "automargin": True, "zeroline": False},
        "hovermode": "closest",
    }
    return Chart(
        id="sins",
        title=title,
        figure=framed([marks], title, f"{data.data_label}; {NO_RESULT}", "", **layout),
        caption=(
            "One convention is switched at a time. Bars are paired bootstrap intervals of the same sessions; a diamond "
            "marks what is more than chance explains."
        ),
        table=sins_table(data),
    )


def sins_table(data: Evidence) -> Table:
    """The clean walk, then one row per sin."""
    columns = {
        "title": ("convention", ""),
        "total_return": ("return", "percent"),
        "less_clean": ("less the clean walk's", "percent"),
        "sharpe": ("Sharpe ratio", ""),
        "inflation": ("beyond the clean one", ""),
        "ci_low": ("from", ""),
        "ci_high": ("to", ""),
        "n_fills": ("fills", "count"),
        "verdict": ("in words", ""),
        "switched": ("what is switched", ""),
    }
    return table(data.sins, columns)


def delays_chart(data: Evidence) -> Chart | None:
    """What the same orders return, filled at other dates; None where no delay was walked."""
    walked = [row for row in data.delays if number(row.get("fill_lag")) is not None]
    if not walked:
        return None
    traces = []
    groups = (
        ("filled before it was decided: impossible", [row for row in walked if not row["possible"]], 1),
        ("filled at or after the decision", [row for row in walked if row["possible"]], 0),
    )
    for name, rows, style in groups:
        if rows:
            x, y = [row["fill_lag"] for row in rows], [_percent(row["total_return"]) for row in rows]
            traces.append(line(x, y, name, style, mode="lines+markers", marker={"size": 8}))
    clean = next((row for row in data.sins if row.get("sin") == "clean"), None)
    if clean is not None:
        ends = [walked[0]["fill_lag"], walked[-1]["fill_lag"]]
        grey = {"color": REFERENCE, "dash": "dash", "width": 1.4}
        level = [_percent(clean["total_return"])] * 2
        traces.append(line(ends, level, "the clean walk", line=grey, mode="lines"))
    title = "The same orders, filled sooner or later"
    xaxis = {"title": {"text": "sessions from decision to fill"}, "dtick": 1}
    span = walked[0]["span"]
    columns = {
        "fill_lag": ("sessions to fill", ""),
        "possible": ("possible", ""),
        "total_return": ("return", "percent"),
        "less_cash": ("less cash", "percent"),
        "growth_less_clean": (f"growth less the clean walk's, % {span}", ""),
        "ci_low": ("from", ""),
        "ci_high": ("to", ""),
        "n_orders": ("orders given", "count"),
        "n_missed": ("not listed then", "count"),
        "n_unfilled": ("not filled", "count"),
    }
    return Chart(
        id="delays",
        title=title,
        figure=framed(traces, title, data.data_label, "return, %", xaxis=xaxis),
        caption=(
            "The orders are those of the clean walk, with the quantities that it decided; only their session differs. "
            "An order whose contract was not listed then is left out."
        ),
        table=table(data.delays, columns),
    )


def costs_chart(data: Evidence) -> Chart | None:
    """What the judged policy and the baselines earn beyond cash, by the spread that they pay; None without a curve."""
    baselines = {row["name"] for row in data.backtests if row.get("policy") != "checkpoint"}
    rows = [
        row
        for row in data.costs
        if row["policy"] in {data.policy_name, *baselines} and number(row.get("spread_multiple")) is not None
    ]
    names = sorted(dict.fromkeys(row["policy"] for row in rows), key=lambda name: name != data.policy_name)
    if not names:
        return None
    traces = []
    for style, name in enumerate(names):
        mine = [row for row in rows if row["policy"] == name]
        x, y = [row["spread_multiple"] for row in mine], [_percent(row["less_cash"]) for row in mine]
        traces.append(line(x, y, name, style, mode="lines+markers"))
    title = "Earned beyond cash, by the spread that is paid"
    ticks = sorted({row["spread_multiple"] for row in rows})
    xaxis = {
        "title": {"text": "times the half-spread (0 mid, 1 touch)"},
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
    }
    columns = {
        "policy": ("policy", ""),
        "paid": ("paid", ""),
        "total_return": ("return", "percent"),
        "less_cash": ("less cash", "percent"),
        "sharpe": ("Sharpe ratio", ""),
        "n_fills": ("fills", "count"),
    }
    return Chart(
        id="costs",
        title=title,
        figure=framed(traces, title, data.data_label, "return less cash, %", xaxis=xaxis),
        caption="Each policy decides anew at each spread, since what it sees of its account differs. Fees stay "
        "the same.",
        table=table(data.costs, columns),
    )


def break_evens_table(data: Evidence) -> Table:
    """The spread at which each checkpoint and baseline earns what cash does."""
    columns = {
        "policy": ("policy", ""),
        "spread_multiple": ("break-even, x the half-spread", ""),
        "verdict": ("in words", ""),
    }
    return table(data.break_evens, columns)


def tilt_chart(data: Evidence) -> Chart | None:
    """Tilt and timing of each Greek, with intervals; None where no account was split."""
    rows = [row for row in data.tilt if number(row.get("tilt_usd")) is not None]
    if not rows:
        return None
    terms = [row["term"] for row in rows]
    bars = [
        go.Bar(
            x=terms,
            y=[number(row[f"{part}_usd"]) for row in rows],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [_reach(row, f"{part}_usd", f"{part}_high") for row in rows],
                "arrayminus": [_reach(row, f"{part}_usd", f"{part}_low") for row in rows],
                "color": REFERENCE,
            },
            name=name,
            marker_color=OKABE_ITO[style],
        )
        for part, name, style in (("tilt", "tilt: average held constant", 0), ("timing", "timing: varying it", 1))
    ]
    title = "Tilt against timing, by Greek"
    columns = {
        "term": ("term", ""),
        "pnl_usd": ("profit, USD", "usd"),
        "tilt_usd": ("tilt, USD", "usd"),
        "tilt_low": ("from", "usd"),
        "tilt_high": ("to", "usd"),
        "timing_usd": ("timing, USD", "usd"),
        "timing_low": ("from", "usd"),
        "timing_high": ("to", "usd"),
    }
    return Chart(
        id="tilt",
        title=title,
        figure=framed(bars, title, data.data_label, "USD", barmode="group", hovermode="closest"),
        caption=(
            "The profit of a Greek is its exposure times the move that came. Vega goes by the volatility at the money; "
            "smile is what the legs' own volatilities did besides. Lines are bootstrap intervals over sessions. "
            "Settlement, carry and costs are not split."
        ),
        table=table(data.tilt, columns),
    )


def tilt_months_chart(data: Evidence) -> Chart | None:
    """Tilt and timing of all four Greeks together, month by month; None where no account was split."""
    rows = [row for row in data.tilt_months if row["term"] == "all four"]
    if not rows:
        return None
    months = [row["month"] for row in rows]
    bars = [
        go.Bar(x=months, y=[number(row[f"{part}_usd"]) for row in rows], name=part, marker_color=OKABE_ITO[style])
        for style, part in enumerate(("tilt", "timing"))
    ]
    title = "Tilt against timing, by month"
    columns = {
        "month": ("month", ""),
        "pnl_usd": ("profit, USD", "usd"),
        "tilt_usd": ("tilt, USD", "usd"),
        "timing_usd": ("timing, USD", "usd"),
    }
    return Chart(
        id="tilt-months",
        title=title,
        figure=framed(bars, title, data.data_label, "USD", barmode="relative", xaxis={"type": "date"}),
        caption="All four Greeks together; the average is that of the whole window, not the month's.",
        table=table(rows, columns),
    )


def _percent(share: Any) -> float | None:
    return None if (known := number(share)) is None else 100.0 * known


def _reach(row: dict[str, Any], estimate: str, end: str) -> float | None:
    middle, limit = number(row.get(estimate)), number(row.get(end))
    return None if middle is None or limit is None else abs(limit - middle)
