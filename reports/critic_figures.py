"""Whether the critic's expectations came true on the judged account."""

from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from reports.charts import REFERENCE, Chart, framed, number, table
from reports.palette import OKABE_ITO


def calibration_chart(data: Evidence) -> Chart | None:
    """What came against what was foreseen, with the line on which both agree; None where nothing was foreseen."""
    rows = [
        row
        for row in data.calibration
        if None not in [number(row.get(name)) for name in ("foreseen", "seen", "low", "high")]
    ]
    if not rows:
        return None
    ends = [min(row["foreseen"] for row in rows), max(row["foreseen"] for row in rows)]
    title = "Rewards foreseen and rewards that came"
    traces = [
        go.Scatter(
            x=[row["foreseen"] for row in rows],
            y=[row["seen"] for row in rows],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [row["high"] - row["seen"] for row in rows],
                "arrayminus": [row["seen"] - row["low"] for row in rows],
            },
            name="sessions, in bins of equal count",
            mode="markers",
            marker={"size": 9, "color": OKABE_ITO[0]},
        ),
        go.Scatter(
            x=ends,
            y=ends,
            name="came as foreseen",
            mode="lines",
            line={"color": REFERENCE, "dash": "dash", "width": 1.4},
        ),
    ]
    layout: dict[str, Any] = {"xaxis": {"title": {"text": "reward foreseen"}}, "hovermode": "closest", "height": 400}
    columns = {
        "bin": ("bin", "count"),
        "sessions": ("sessions", "count"),
        "foreseen": ("foreseen", ""),
        "seen": ("came", ""),
        "low": ("came, 95% from", ""),
        "high": ("to", ""),
    }
    return Chart(
        id="calibration",
        title=title,
        figure=framed(traces, title, data.data_label, "reward that came", **layout),
        caption="Over the next five sessions of the judged account: across, the reward that the change of the critic's "
        "value foresaw; upward, the mean reward that came, with its 95% interval. A critic that is right lies on the "
        "dashed line; one that knows nothing gives a level row of points.",
        table=table(rows, columns),
    )
