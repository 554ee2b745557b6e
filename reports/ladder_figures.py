"""The ladder rung by rung: what each is ahead of, and what it earns on data it was trained on and on other data."""

from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from clstm_core.evaluation.figures import MEAN_METRIC
from clstm_core.evaluation.words import percent_of_run
from reports.charts import Chart, framed, has_values, line, number, table
from reports.figures import fills_of, headline_fills
from reports.palette import OKABE_ITO

BASELINES = ("cash", "buy_and_hold")
"""Those that every rung is drawn against; the first one is shown, the others on demand."""


def headline_pairs(data: Evidence) -> list[dict[str, Any]]:
    """Rungs' mean differences from the main baselines at the headline's fills; whatever there is, without those."""
    rows = [row for row in data.ladder if row.get("milestone") and number(row.get("estimate")) is not None]
    headline = headline_fills(data.ladder)
    latest = max((row["fill_lag"] for row in rows if row.get("fill_lag") is not None), default=None)
    wanted = [
        row
        for row in rows
        if row.get("metric") in (None, MEAN_METRIC)
        and row.get("against") in BASELINES
        and row.get("fill_lag") == latest
        and fills_of(row) == headline
    ]
    return wanted or rows


def ladder_chart(data: Evidence) -> Chart | None:
    """Estimates with their intervals, rung by rung, in both modes: against cash, and on demand against the index."""
    rows = sorted(headline_pairs(data), key=lambda row: row.get("against") != BASELINES[0])
    if not rows:
        return None
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        against = f"against {row['against']}" if row.get("against") else "on its own"
        mode = f", {row['mode']}" if row.get("mode") else ""
        groups.setdefault(f"{row.get('window')} window, {against}{mode}", []).append(row)
    first = [name for name, members in groups.items() if members[0].get("against") == BASELINES[0]] or list(groups)
    rungs = sorted({str(row["milestone"]) for row in rows})
    rest = [name for name in groups if name not in first]
    spread = 0.6 / len(first)
    middle = (len(first) - 1) / 2
    offsets = {name: (place - middle) * spread for place, name in enumerate(first)}
    offsets |= {name: (place - middle + 0.4) * spread for place, name in enumerate(rest)}  # in the gaps between them
    traces = [
        go.Scatter(
            x=[rungs.index(str(row["milestone"])) + offsets[name] for row in members],
            y=[number(row["estimate"]) for row in members],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [_reach(row, "estimate", "ci_high") for row in members],
                "arrayminus": [_reach(row, "estimate", "ci_low") for row in members],
            },
            text=[percent_of_run(row["milestone"]) for row in members],
            name=name,
            mode="markers",
            marker={"size": 9, "color": OKABE_ITO[index % len(OKABE_ITO)], "symbol": index},
            visible=True if name in first else "legendonly",
        )
        for index, (name, members) in enumerate(groups.items())
    ]
    metric = str(rows[0].get("metric") or "estimate").replace("_", " ")
    ticks = {"tickvals": list(range(len(rungs))), "ticktext": [percent_of_run(rung) for rung in rungs]}
    layout: dict[str, Any] = {"xaxis": {**ticks, "title": {"text": "checkpoint, % of the run"}}, "hovermode": "closest"}
    columns = {
        "rung": ("rung", ""),
        "env_steps": ("env steps", "count"),
        "mode": ("mode", ""),
        "window": ("window", ""),
        "against": ("against", ""),
        "metric": ("metric", ""),
        "estimate": ("estimate", ""),
        "ci_low": ("from", ""),
        "ci_high": ("to", ""),
        "n_dates": ("dates", "count"),
        "distinguishable": ("distinguishable", ""),
        "champion": ("champion", ""),
    }
    more = " Click a grey name to draw it as well." if rest else ""
    return Chart(
        id="ladder",
        title="Checkpoint ladder",
        figure=framed(traces, "Checkpoint ladder", data.data_label, metric, height=420, **layout),
        caption="Bars are paired bootstrap intervals; where one crosses zero, the two are not distinguishable." + more,
        table=table(with_rung(rows), columns),
    )


def overfitting_chart(data: Evidence) -> Chart | None:
    """Profit of every rung on data it was trained on beside data it was not, and the gap with its interval."""
    rows = [row for row in data.overfitting if row.get("milestone")]
    if not rows:
        return None
    rungs = [percent_of_run(row["milestone"]) for row in rows]
    names = {"in_sample_bps": "in sample", "held_out_bps": "held out"}
    traces = [
        line(rungs, [row.get(key) for row in rows], name, style) for style, (key, name) in enumerate(names.items())
    ]
    if has_values(rows, "gap"):
        bars = {
            side: [_reach(row, "gap", end) for row in rows]
            for side, end in (("array", "gap_high"), ("arrayminus", "gap_low"))
        }
        traces.append(
            go.Scatter(
                x=rungs,
                y=[number(row.get("gap")) for row in rows],
                error_y={"type": "data", "symmetric": False, **bars},
                name="gap: in sample less held out, with its interval",
                mode="markers",
                marker={"size": 8, "color": OKABE_ITO[2], "symbol": "diamond"},
            )
        )
    layout: dict[str, Any] = {
        "xaxis": {"type": "category", "title": {"text": "checkpoint, % of the run"}},
        "hovermode": "x unified",
    }
    columns = {
        "rung": ("rung", ""),
        "env_steps": ("env steps", "count"),
        "in_sample_bps": ("in sample, bps", ""),
        "held_out_bps": ("held out, bps", ""),
        "gap": ("gap, bps", ""),
        "gap_low": ("from", ""),
        "gap_high": ("to", ""),
    }
    title = "In sample against held out"
    return Chart(
        id="overfitting",
        title=title,
        figure=framed(traces, title, data.data_label, "bps of excess return per session", height=380, **layout),
        caption=data.overfitting_answer or "A rung that earns only on its training data has memorised it.",
        table=table(with_rung(rows), columns),
    )


def with_rung(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the rung in people's words, where they are of one."""
    return [{**row, "rung": percent_of_run(row["milestone"])} if row.get("milestone") else row for row in rows]


def _reach(row: dict[str, Any], middle: str, end: str) -> float | None:
    """How far an interval's end lies from its middle; None where either is missing."""
    estimate, limit = number(row.get(middle)), number(row.get(end))
    return None if estimate is None or limit is None else abs(limit - estimate)
