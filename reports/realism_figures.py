"""How true the market is: option-selling indices by its quotes beside the published ones, and the VIX."""

from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from reports.charts import Chart, framed, table
from reports.palette import OKABE_ITO


def realism_charts(data: Evidence) -> list[Chart]:
    """Indices by calendar year, and volatility less the VIX by year; empty where there is nothing to compare."""
    charts = []
    known = [row for row in data.realism_indices if row.get("published") is not None]
    option = [row for row in known if row["index"] != "total_return"]
    if option:
        traces: list[Any] = []
        for number, index in enumerate(sorted({row["index"] for row in option})):
            rows = sorted((row for row in option if row["index"] == index), key=lambda row: row["year"])
            years, colour = [row["year"] for row in rows], OKABE_ITO[number % len(OKABE_ITO)]
            traces += [
                go.Bar(x=years, y=[row["ours"] for row in rows], name=f"{index}, these quotes", marker_color=colour),
                go.Bar(
                    x=years,
                    y=[row["published"] for row in rows],
                    name=f"{index}, published",
                    marker={"color": colour, "opacity": 0.45, "pattern": {"shape": "/"}},
                ),
            ]
        title = "Option-selling indices by calendar year"
        columns = {
            "year": ("year", ""),
            "index": ("index", ""),
            "ours": ("ours, %", ""),
            "published": ("theirs, %", ""),
        }
        charts.append(
            Chart(
                id="realism-indices",
                title=title,
                figure=framed(traces, title, data.data_label, "return of the year, %", barmode="group"),
                caption="At mid, without costs, rolled on the day of expiry, by the published rules.",
                table=table(sorted(known, key=lambda row: (row["year"], row["index"])), columns),
            )
        )
    if data.realism_volatility:
        rows = data.realism_volatility
        title = "30-day model-free volatility less the VIX"
        trace = go.Bar(
            x=[row["year"] for row in rows],
            y=[row["bias"] for row in rows],
            name="mean of the year",
            marker_color=OKABE_ITO[0],
        )
        shown = {
            "year": ("year", ""),
            "vix": ("VIX", ""),
            "bias": ("difference", ""),
            "rmse": ("root mean square", ""),
            "sessions": ("sessions", "count"),
        }
        charts.append(
            Chart(
                id="realism-volatility",
                title=title,
                figure=framed([trace], title, data.data_label, "volatility points", height=280),
                caption="By the exchange's own formula over the listed quotes.",
                table=table(rows, shown),
            )
        )
    return charts
