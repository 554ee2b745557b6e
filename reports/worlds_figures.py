"""Every policy in the market and in the worlds beside it: one picture and one table."""

from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from reports.charts import NOTHING, Chart, Table, framed, number, table
from reports.palette import OKABE_ITO

SYMBOLS = ("circle", "square", "diamond")
LESS_CASH = "less cash, % per year"


def worlds_chart(data: Evidence) -> Chart | None:
    """Distance from cash with its interval, policy by policy, a mark per world; None where there is nothing to draw."""
    rows = [row for row in data.worlds if number(row.get("less_cash")) is not None]
    if not rows:
        return None
    policies, worlds = (list(dict.fromkeys(str(row[key]) for row in rows)) for key in ("policy", "world"))
    traces = []
    for index, world in enumerate(worlds):
        members = [row for row in rows if row["world"] == world]
        offset = 0.5 * (index - (len(worlds) - 1) / 2) / max(1, len(worlds) - 1)
        traces.append(
            go.Scatter(
                x=[number(row["less_cash"]) for row in members],
                y=[policies.index(row["policy"]) + offset for row in members],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [_reach(row, "ci_high") for row in members],
                    "arrayminus": [_reach(row, "ci_low") for row in members],
                },
                text=[row["policy"] for row in members],
                hovertemplate="%{text}: %{x:.1f}",
                name=world,
                mode="markers",
                marker={
                    "size": 8,
                    "color": OKABE_ITO[index % len(OKABE_ITO)],
                    "symbol": SYMBOLS[index % len(SYMBOLS)],
                },
            )
        )
    title = "Distance from cash in each world"
    layout: dict[str, Any] = {
        "height": 190 + 44 * len(policies),
        "xaxis": {"title": {"text": LESS_CASH}, "zeroline": True},
        "yaxis": {
            "tickvals": list(range(len(policies))),
            "ticktext": policies,
            "autorange": "reversed",
            "title": None,
            "zeroline": False,
        },
        "hovermode": "closest",
    }
    columns = {
        "policy": ("policy", ""),
        "world": ("world", ""),
        "total_return": ("return", "percent"),
        "less_cash": (LESS_CASH, ""),
        "ci_low": ("from", ""),
        "ci_high": ("to", ""),
        "n_dates": ("dates", "count"),
        "verdict": ("in words", ""),
    }
    return Chart(
        id="worlds",
        title=title,
        figure=framed(traces, title, data.data_label, "", **layout),
        caption="Bars are paired bootstrap intervals; where one crosses zero, policy and cash are not distinguishable.",
        table=table(data.worlds, columns),
    )


def worlds_table(data: Evidence) -> Table:
    """One row per policy; for each world its return and its distance from cash, the interval in brackets."""
    worlds = list(dict.fromkeys(str(row["world"]) for row in data.worlds))
    policies: dict[str, dict[str, Any]] = {}
    for row in data.worlds:
        cells = policies.setdefault(str(row["policy"]), {"policy": row["policy"]})
        cells |= {f"{row['world']} return": row.get("total_return"), f"{row['world']} less cash": _interval(row)}
    columns = {"policy": ("policy", "")}
    for world in worlds:
        columns |= {
            f"{world} return": (f"{world}: return", "percent"),
            f"{world} less cash": (f"{world}: {LESS_CASH}", ""),
        }
    return table(list(policies.values()), columns)


def _interval(row: dict[str, Any]) -> str:
    """`+1.2 (-0.5 to +3.0)`; the estimate alone where the window was too short for an interval."""
    estimate, low, high = (number(row.get(key)) for key in ("less_cash", "ci_low", "ci_high"))
    if estimate is None:
        return NOTHING
    return f"{estimate:+.1f}" if low is None or high is None else f"{estimate:+.1f} ({low:+.1f} to {high:+.1f})"


def _reach(row: dict[str, Any], end: str) -> float | None:
    estimate, limit = number(row.get("less_cash")), number(row.get(end))
    return None if estimate is None or limit is None else abs(limit - estimate)
