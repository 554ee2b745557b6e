"""What the policy earns where it was trained and where it was not, rung by rung, and what it does there."""

from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from clstm_core.evaluation.words import percent_of_run
from reports.charts import Chart, Table, framed, number, table
from reports.ladder_figures import with_rung
from reports.palette import OKABE_ITO

ARGMAX = "argmax"
WORLDS_LABEL = "worlds: simulated quotes"
BPS = "bps of log growth beyond cash per session"
NOTHING = "Not measured: this run's ladder was not walked through other markets than its own."


def generalisation_charts(data: Evidence) -> list[Chart]:
    """Growth in each kind of market and the gap to training, by rung; nothing where nothing was measured."""
    growth = _chart(
        data,
        "generalisation",
        "Growth where it was trained, and where it was not",
        ("growth_bps", "low_bps", "high_bps"),
        "The likeliest action, raw rewards, whole episodes; bars are 95% intervals by episodes. Worlds are simulated.",
    )
    gap = _chart(
        data,
        "generalisation-gap",
        "The gap: growth where it was trained less growth elsewhere",
        ("gap_bps", "gap_low_bps", "gap_high_bps"),
        "Above zero beyond its bar: memorised. Bars are 95% intervals of independent episodes.",
    )
    return [chart for chart in (growth, gap) if chart is not None]


def _chart(data: Evidence, identity: str, title: str, keys: tuple[str, str, str], caption: str) -> Chart | None:
    mean, low, high = keys
    rows = [row for row in data.generalisation if row.get("mode") == ARGMAX and number(row.get(mean)) is not None]
    if not rows:
        return None
    rungs = sorted({str(row.get("milestone")) for row in rows})
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(_where(row), []).append(row)
    known = [*dict.fromkeys(map(_where, data.generalisation))]  # a kind of market looks alike in both figures
    spread = 0.6 / max(1, len(kinds))
    traces = [
        go.Scatter(
            x=[rungs.index(str(row.get("milestone"))) + (index - (len(kinds) - 1) / 2) * spread for row in members],
            y=[number(row.get(mean)) for row in members],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [_reach(row, mean, high) for row in members],
                "arrayminus": [_reach(row, mean, low) for row in members],
            },
            name=name,
            mode="markers",
            marker={"size": 8, "color": OKABE_ITO[known.index(name) % len(OKABE_ITO)], "symbol": known.index(name)},
        )
        for index, (name, members) in enumerate(kinds.items())
    ]
    ticks = {"tickvals": list(range(len(rungs))), "ticktext": [percent_of_run(rung) for rung in rungs]}
    layout: dict[str, Any] = {"xaxis": {**ticks, "title": {"text": "checkpoint, % of the run"}}, "hovermode": "closest"}
    columns = {
        "rung": ("rung", ""),
        "where": ("kind of market", ""),
        "label": ("data", ""),
        mean: ("bps per session", ""),
        low: ("from", ""),
        high: ("to", ""),
    }
    return Chart(
        id=identity,
        title=title,
        figure=framed(traces, title, _label(data), BPS, height=460, **layout),
        caption=caption,
        table=table(with_rung(rows), columns),
    )


def figures_table(data: Evidence) -> Table:
    """Every figure of every rung, kind of market and mode."""
    columns = {
        "rung": ("rung", ""),
        "where": ("kind of market", ""),
        "mode": ("mode", ""),
        "label": ("data", ""),
        "growth_bps": ("growth, bps", ""),
        "low_bps": ("from", ""),
        "high_bps": ("to", ""),
        "deviation_bps": ("deviation of a session, bps", ""),
        "per_risk": ("growth per unit of risk", ""),
        "explained_variance_5": ("explained variance, 5 sessions", ""),
        "gap_bps": ("gap, bps", ""),
        "gap_low_bps": ("from", ""),
        "gap_high_bps": ("to", ""),
        "episodes": ("episodes", "count"),
        "draws": ("worth", "count"),
    }
    return table(with_rung(data.generalisation), columns)


def habits_table(data: Evidence) -> Table:
    """What the judged rung does, by how wild the market is."""
    columns = {
        "action": ("it ...", ""),
        **{name: (f"{name} markets", "percent") for name in ("calm", "middle", "wild")},
    }
    return table(data.habits, columns)


def rules_table(data: Evidence) -> Table:
    """What the best fixed rules earn on fresh worlds."""
    columns = {
        "rule": ("rule", ""),
        "growth_bps": ("growth, bps per session", ""),
        "error_bps": ("standard error", ""),
        "deviation_bps": ("deviation of a session, bps", ""),
        "per_risk": ("growth per unit of risk", ""),
        "episodes": ("episodes", "count"),
    }
    return table(data.rules, columns)


def _where(row: dict[str, Any]) -> str:
    return str(row.get("where") or row.get("kind"))


def _label(data: Evidence) -> str:
    """What the quotes are: dates have their market's own label, whatever the policy was trained on."""
    dates = (row.get("label") for row in data.generalisation if str(row.get("kind")).endswith("_dates"))
    own = ", ".join(dict.fromkeys(str(label) for label in dates if label))
    return f"{WORLDS_LABEL}; dates: {own or data.label or 'quotes of unknown origin'}"


def _reach(row: dict[str, Any], mean: str, end: str) -> float | None:
    estimate, limit = number(row.get(mean)), number(row.get(end))
    return None if estimate is None or limit is None else abs(limit - estimate)
