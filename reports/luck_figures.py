"""Skill or luck: what the judged policy's ratio was by luck alone in fair worlds, and where the real one lies."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from clstm_core.evaluation.words import percent_of
from reports.charts import Chart, Table, framed, table
from reports.palette import OKABE_ITO

BINS = 41
LABEL = "simulated quotes: fair worlds, in which nothing can be earned before costs"

CONTROLS_TITLE = "Controls of this recipe (simulated quotes)"
CONTROLS = {
    "world": ("world", ""),
    "idle": ("decisions with nothing held", "percent"),
    "growth_bps": ("earned, bps per session beyond cash", ""),
    "error_bps": ("standard error", ""),
    "rule": ("best fixed rule", ""),
    "rule_growth_bps": ("it earns", ""),
    "windows": ("windows judged", "count"),
    "window_sessions": ("sessions each", "count"),
    "called_better": ("called better than cash", "count"),
}


def luck_chart(data: Evidence) -> Chart | None:
    """How often each Sharpe ratio came by luck, and the one of the test window; None where no worlds were walked."""
    place = next((row for row in data.luck if row.get("against") == "cash"), None)
    if place is None or not data.luck_ratios:
        return None
    observed = float(place["observed"])
    low, high = min([*data.luck_ratios, observed]), max([*data.luck_ratios, observed])
    width = (high - low) / BINS or 1.0
    counts = [0] * BINS
    for ratio in data.luck_ratios:
        counts[min(BINS - 1, int((ratio - low) / width))] += 1
    centres = [low + (number + 0.5) * width for number in range(BINS)]
    beyond = [centre >= observed for centre in centres]
    title = "The same policy in fair worlds: Sharpe ratios that luck gave"
    bars = go.Bar(
        x=centres,
        y=counts,
        width=width,
        name="fair worlds",
        marker_color=[OKABE_ITO[1] if flag else OKABE_ITO[0] for flag in beyond],
    )
    figure = framed(
        [bars], title, LABEL, "worlds", height=300, xaxis={"title": {"text": f"Sharpe ratio {luck_span(data)}"}}
    )
    figure["layout"]["shapes"] = [
        {"type": "line", "x0": observed, "x1": observed, "y0": 0, "y1": 1, "yref": "paper", "line": {"width": 2}}
    ]
    figure["layout"]["annotations"] = [
        {
            "x": observed,
            "y": 1.0,
            "yref": "paper",
            "yanchor": "bottom",
            "text": f"test window {observed:.2f}",
            "showarrow": False,
        }
    ]
    rows = [
        {"from": centre - width / 2, "to": centre + width / 2, "worlds": count}
        for centre, count in zip(centres, counts, strict=True)
        if count
    ]
    return Chart(
        id="luck",
        title=title,
        figure=figure,
        caption=f"p = {float(place['p']):.1%}: the share of worlds at or right of the line; "
        f"{float(place['level']):.1%} is asked before cash is called beaten.",
        table=table(rows, {"from": ("from", ""), "to": ("to", ""), "worlds": ("worlds", "count")}),
    )


def luck_span(data: Evidence) -> str:
    """What a ratio is of: a year, or the sessions of a shorter window."""
    return percent_of(data.n_sessions or 0)[1]


def controls_table(rows: Sequence[dict[str, Any]]) -> Table:
    """What the recipe finds where nothing can be earned and where something can, one row per world."""
    return table(rows, CONTROLS)


def luck_sentence(data: Evidence) -> str:
    """The answer in words."""
    place = next((row for row in data.luck if row.get("against") == "cash"), None)
    if place is None:
        return "No fair worlds were walked: nothing here is held to be more than luck."
    p, worlds = float(place["p"]), int(place["worlds"])
    count = round(p * (1 + worlds)) - 1
    answer = "More than luck" if p <= float(place["level"]) else "No more than luck may bring"
    return (
        f"{answer}: in {count} of {worlds:,} worlds in which nothing can be earned before costs, the policy did at "
        "least as well against cash as it did on the test window. An interval from one history sees only losses that "
        "happened; this sees those that might have."
    )
