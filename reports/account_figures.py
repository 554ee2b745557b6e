"""The judged account against cash: its excess with a band, its tear sheet, its years and its worst falls."""

from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from reports.charts import MAX_POINTS, NOTHING, Chart, Table, framed, line, number, table, text, thin

BAND = "rgba(0, 114, 178, 0.18)"
"""The judged policy's blue, let through."""


def percents(rows: list[dict[str, Any]], key: str) -> list[float | None]:
    """A column of fractions in percent; None where it is unknown."""
    return [None if (value := number(row.get(key))) is None else 100.0 * value for row in rows]


def excess_chart(data: Evidence) -> Chart | None:
    """Excess over cash of the judged policy alone with its bootstrap band; None where there is no session."""
    rows = thin(data.sessions, MAX_POINTS)
    path = percents(rows, "excess")
    if not any(value is not None for value in path):
        return None
    dates = [row.get("date") for row in rows]
    title = "Excess over cash"
    low, high = percents(rows, "excess_low"), percents(rows, "excess_high")
    traces: list[Any] = []
    if any(value is not None for value in low):
        edge: dict[str, Any] = {"x": dates, "mode": "lines", "line": {"width": 0}, "hovertemplate": "%{y:.2f}"}
        traces.append(go.Scatter(y=low, name="band from", showlegend=False, **edge))
        traces.append(go.Scatter(y=high, name="95% bootstrap band", fill="tonexty", fillcolor=BAND, **edge))
    traces.append(line(dates, path, data.policy_name))
    return Chart(
        id="excess",
        title=title,
        figure=framed(traces, title, data.data_label, "excess over cash, %", height=400),
        caption=_excess_words(path[-1], low[-1], high[-1]),
        table=table(
            data.sessions,
            {
                "date": ("date", ""),
                "excess": ("excess over cash", "percent"),
                "excess_low": ("from", "percent"),
                "excess_high": ("to", "percent"),
            },
        ),
    )


def _excess_words(last: float | None, low: float | None, high: float | None) -> str:
    said = (
        "Equity over what the same capital would have become as cash, less 1: interest earned by waiting counts for "
        "nothing here. "
    )
    if low is None or high is None or last is None:
        return said + "Too few sessions for a band."
    answer = "0 lies in it: not distinguishable from cash" if low <= 0.0 <= high else "0 lies outside"
    return (
        f"{said}The band comes from resampled dates, at each date by itself. At the last date it is the "
        f"verdict's interval against cash: {last:+.1f}% ({low:+.1f}% to {high:+.1f}%); {answer}."
    )


def figure_text(value: Any, kind: str) -> str:
    """One figure of the tear sheet: ratios with two decimals, days without."""
    known = number(value)
    if known is None:
        return NOTHING
    return f"{known + 0.0:.2f}" if kind == "ratio" else text(known, kind)


def tear_sheet_table(data: Evidence) -> Table:
    """Every figure with its interval or date, and how it is worked out."""
    rows = []
    for row in data.tear_sheet:
        kind = str(row.get("kind"))
        low, high = (figure_text(row.get(end), kind) for end in ("low", "high"))
        span = "" if NOTHING in (low, high) else f"{low} to {high}"
        rows.append(
            {
                "figure": row.get("figure"),
                "value": figure_text(row.get("value"), kind),
                "span": span or row.get("when") or "",
                "how": row.get("how"),
            }
        )
    columns = {"figure": ("figure", ""), "value": ("value", ""), "span": ("interval or date", ""), "how": ("how", "")}
    return table(rows, columns)


def years_table(data: Evidence) -> Table:
    """What each calendar year earned; a year that the window cuts is named by its dates."""
    columns = {
        "period": ("year", ""),
        "first_date": ("from", ""),
        "last_date": ("to", ""),
        "sessions": ("sessions", "count"),
        "return": ("return", "percent"),
        "cash": ("cash", "percent"),
        "excess": ("less cash", "percent"),
        "underlying": ("index, price alone", "percent"),
        "max_drawdown": ("largest drawdown within", "percent"),
    }
    return table(data.years, columns)


def drawdowns_table(data: Evidence) -> Table:
    """The deepest falls: when they began, where they ended, and how long they took."""
    rows = [{**row, "recovered": row.get("recovered") or "not yet"} for row in data.drawdowns]
    columns = {
        "depth": ("depth", "percent"),
        "peak": ("peak", ""),
        "trough": ("trough", ""),
        "recovered": ("recovered", ""),
        "sessions": ("sessions", "count"),
        "days": ("days", "count"),
    }
    return table(rows, columns)
