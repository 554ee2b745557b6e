"""Round trips of the judged account: what each package made and how long it was held, by action, and the worst."""

from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from reports.charts import Chart, Table, framed, number, table
from reports.palette import OKABE_ITO

COLUMNS = {
    "action": ("opened by", ""),
    "opened": ("opened", ""),
    "closed": ("flat", ""),
    "days": ("days", "count"),
    "legs": ("legs", "count"),
    "pnl_usd": ("profit, USD", "usd"),
    "fees_usd": ("fees, USD", "usd"),
}


def trips_chart(data: Evidence) -> Chart | None:
    """Profit of every closed package against the days it was held; None where none was closed."""
    closed = [row for row in data.trades if row.get("closed") and number(row.get("pnl_usd")) is not None]
    if not closed:
        return None
    groups = (
        ("profit", [row for row in closed if row["pnl_usd"] >= 0.0], OKABE_ITO[0], "circle"),
        ("loss", [row for row in closed if row["pnl_usd"] < 0.0], OKABE_ITO[1], "x"),
    )
    traces = [
        go.Scatter(
            x=[number(row.get("days")) for row in rows],
            y=[row["pnl_usd"] for row in rows],
            text=[f"{row.get('action')}, {row.get('opened')}" for row in rows],
            hovertemplate="%{text}<br>%{x} days: %{y:,.0f} USD",
            name=f"{name} ({len(rows)})",
            mode="markers",
            marker={"size": 7, "symbol": symbol, "color": colour, "opacity": 0.75},
        )
        for name, rows, colour, symbol in groups
        if rows
    ]
    layout: dict[str, Any] = {"xaxis": {"title": {"text": "calendar days held"}}, "hovermode": "closest", "height": 400}
    title = "Round trips"
    return Chart(
        id="trips",
        title=title,
        figure=framed(traces, title, data.data_label, "profit, USD", **layout),
        caption="One mark per package of options, from its opening until all its legs were flat, spread and fees "
        "included; shares that hedge or cover it are left out. A leg that is added to stays in its first package.",
        table=table(named(data.trades), COLUMNS),
    )


def named(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Packages in words: one that is not flat yet says so."""
    return [{**row, "closed": row.get("closed") or "still open"} for row in rows]


def trips_table(data: Evidence) -> Table:
    """Hit rate, payoff and sums by the action that opened the package."""
    columns = {
        "action": ("opened by", ""),
        "closed": ("closed", "count"),
        "open": ("open", "count"),
        "hit_rate": ("hit rate", "percent"),
        "mean_profit_usd": ("mean profit, USD", "usd"),
        "mean_loss_usd": ("mean loss, USD", "usd"),
        "payoff": ("payoff", ""),
        "profit_factor": ("profit factor", ""),
        "mean_days": ("mean days", ""),
        "pnl_usd": ("sum of closed, USD", "usd"),
        "open_pnl_usd": ("of open, USD", "usd"),
    }
    return table(data.trade_figures, columns)


def worst_table(data: Evidence) -> Table:
    """The packages that lost most, with their contracts and what they cost of the start capital."""
    capital = next((number(row.get("value")) for row in data.tear_sheet if row.get("figure") == "Start capital"), None)
    rows = [
        {**row, "share": None if not capital or (lost := number(row.get("pnl_usd"))) is None else lost / capital}
        for row in named(data.worst_trades)
    ]
    return table(rows, {**COLUMNS, "share": ("of capital", "percent"), "contracts": ("contracts", "")})
