"""Money figures: equity and drawdown against baselines, what was traded, and at which fills."""

from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Curve, Evidence
from reports.charts import DASHES, Chart, Table, framed, line, number, table
from reports.palette import OKABE_ITO

WIDE = 1.6
"""Where equities lie further apart than this ratio, growth is drawn on a log axis: equal ratios, equal heights."""
GREYS = ("#7F7F7F", "#A6A6A6")

FEW_DATES = 12
"""Up to so many, every date has its own tick: a time axis would show hours between them."""


def growth(curve: Curve) -> list[float | None]:
    """Profit since the start in percent of the first equity; None where equity is unknown."""
    start = next((value for value in map(number, curve.equity) if value), None)
    return [None if (v := number(value)) is None or start is None else 100 * (v / start - 1) for value in curve.equity]


def drawdown(curve: Curve) -> list[float | None]:
    """Percent below the highest equity so far: 0 or negative."""
    peak: float | None = None
    out: list[float | None] = []
    for value in map(number, curve.equity):
        if value is None:
            out.append(None)
            continue
        peak = value if peak is None else max(peak, value)
        out.append(100 * (value / peak - 1) if peak > 0 else None)
    return out


def ordered(curves: list[Curve]) -> list[Curve]:
    """The judged policy first, so that it has the first colour and the thick line."""
    return sorted(curves, key=lambda curve: not curve.is_policy)


def equity_charts(data: Evidence) -> list[Chart]:
    """Equity and underwater curves of the policy and the baselines."""
    curves = ordered([curve for curve in data.curves if len(curve.dates) >= 2])
    if not curves:
        return []

    grown = [growth(curve) for curve in curves]
    few: dict[str, Any] = (
        {"xaxis": {"type": "category"}} if max(len(curve.dates) for curve in curves) <= FEW_DATES else {}
    )

    def chart(identity: str, title: str, series: list[list[float | None]], caption: str, **axis: Any) -> Chart:
        drawn = [
            line(c.dates, y, c.name, index, **_thin(c, index))
            for index, (c, y) in enumerate(zip(curves, series, strict=True))
        ]
        drawn[0].legendrank = 1
        traces = [*drawn[1:], drawn[0]]  # the first is drawn last: nothing lies over the judged policy
        return Chart(
            id=identity,
            title=title,
            figure=framed(traces, title, data.data_label, f"{title.lower()}, %", height=400, **few, **axis),
            caption=caption,
            table=_by_date(curves, series if not axis else grown),
        )

    words = "Change of equity, marked at mid, in percent of the starting capital; one line per account, no resets."
    levels = [[None if value is None else 100.0 + value for value in values] for values in grown]
    equity = chart("equity", "Profit since the start", grown, words)
    if _wide(levels):
        words = "Equity, marked at mid, the start being 100, on a log axis; one line per account, no resets."
        equity = chart(
            "equity", "Equity, start = 100 (log axis)", levels, words, yaxis_type="log", yaxis_title_text="start = 100"
        )
    return [
        equity,
        chart(
            "underwater",
            "Drawdown",
            [drawdown(curve) for curve in curves],
            "How far each account is below its own highest equity so far.",
        ),
    ]


def _thin(curve: Curve, index: int) -> dict[str, Any]:
    """Baselines are thin and grey, told apart by their dashes: the judged policy is what is looked at."""
    if curve.is_policy or index == 0:
        return {}
    grey = GREYS[(index // len(DASHES)) % len(GREYS)]
    return {"line": {"color": grey, "width": 1.1, "dash": DASHES[index % len(DASHES)]}, "mode": "lines"}


def _wide(levels: list[list[float | None]]) -> bool:
    """Whether levels are all positive and so far apart that a log axis is asked for."""
    known = [value for values in levels for value in values if value is not None]
    return bool(known) and min(known) > 0.0 and max(known) > WIDE * min(known)


def _by_date(curves: list[Curve], series: list[list[float | None]]) -> Table:
    values: dict[str, dict[str, Any]] = {}
    for index, (curve, ys) in enumerate(zip(curves, series, strict=True)):
        for date, y in zip(curve.dates, ys, strict=True):
            values.setdefault(date, {"date": date})[str(index)] = None if y is None else y / 100
    rows = [values[date] for date in sorted(values)]
    return table(rows, {"date": ("date", ""), **{str(i): (c.name, "percent") for i, c in enumerate(curves)}})


def action_chart(data: Evidence) -> Chart | None:
    """How often each action was chosen."""
    rows = sorted(data.actions, key=lambda row: number(row.get("share")) or 0.0)
    if not rows:
        return None
    names = [str(row.get("action")) for row in rows]
    shares = [100 * (number(row.get("share")) or 0.0) for row in rows]
    bar = go.Bar(x=shares, y=names, orientation="h", marker={"color": OKABE_ITO[0]}, showlegend=False)
    layout: dict[str, Any] = {
        "height": 130 + 22 * len(rows),
        "xaxis": {"title": {"text": "% of decisions"}},
        "yaxis": {"type": "category", "title": None},
        "hovermode": "closest",
    }
    return Chart(
        id="actions",
        title="Actions chosen",
        figure=framed([bar], "Actions chosen", data.data_label, "", **layout),
        caption=f"Decisions of {data.policy_name} over the window, one per session.",
        table=table(
            rows[::-1], {"action": ("action", ""), "count": ("decisions", "count"), "share": ("share", "percent")}
        ),
    )


def fills_of(row: dict[str, Any]) -> tuple[str, float | None]:
    """How a row's orders were filled: at touch, or at a fraction of the half-spread."""
    rule = row.get("fill_rule") or "touch"
    return rule, None if rule == "touch" else row.get("fill_fraction")


def headline_fills(rows: list[dict[str, Any]]) -> tuple[str, float | None]:
    """How the headline's orders were filled; at touch where no row says."""
    return next((fills_of(row) for row in rows if row.get("headline")), ("touch", None))


def lag_chart(data: Evidence) -> Chart | None:
    """Total return when orders fill at the decision's quotes against the next session's."""
    names = [curve.name for curve in ordered(data.curves)]
    returns: dict[str, dict[int, float | None]] = {}
    headline = headline_fills(data.backtests)
    for row in data.backtests:
        if row.get("fill_lag") in (0, 1) and fills_of(row) == headline:
            returns.setdefault(str(row.get("name")), {})[row["fill_lag"]] = number(row.get("total_return"))
    shown = [name for name in names if len(returns.get(name, {})) == 2]
    if not shown:
        return None
    words = {0: "lag 0: fills at the decision's own quotes", 1: "lag 1: fills at the next session's quotes (headline)"}
    markers = [
        go.Scatter(
            x=[None if (v := returns[name][lag]) is None else 100 * v for name in shown],
            y=shown,
            name=words[lag],
            mode="markers",
            marker={"size": 11, "symbol": symbol, "color": colour},
        )
        for lag, symbol, colour in ((1, "circle", OKABE_ITO[0]), (0, "diamond-open", OKABE_ITO[1]))
    ]
    layout: dict[str, Any] = {
        "height": 190 + 30 * len(shown),
        "xaxis": {"title": {"text": "total return, %"}, "zeroline": True},
        "yaxis": {"type": "category", "autorange": "reversed", "title": None},
        "hovermode": "closest",
    }
    rows = [{"policy": n, "one": returns[n][1], "zero": returns[n][0]} for n in shown]
    return Chart(
        id="fill-lag",
        title="Fill lag",
        figure=framed(markers, "Fill lag", data.data_label, "", **layout),
        caption="A result that needs lag 0 trades on quotes it could not have had in time.",
        table=table(rows, {"policy": ("policy", ""), "one": ("lag 1", "percent"), "zero": ("lag 0", "percent")}),
    )
