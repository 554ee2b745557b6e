"""Where profit came from: what cash would have earned as well, and what explains the rest, month by month."""

from typing import Any

import plotly.graph_objects as go

from clstm_core.evaluation.evidence import Evidence
from clstm_core.evaluation.figures import ATTRIBUTION, LARGE_RESIDUAL
from reports.charts import Chart, Table, framed, number, table, text
from reports.palette import FLOWS

_PATTERNS = ("", "/", "x", ".", "\\", "+", "", "x", "")
_HATCH = {"fillmode": "overlay", "fgcolor": "#000000", "fgopacity": 0.35, "size": 7, "solidity": 0.2}
BEYOND_CASH = {**ATTRIBUTION, "carry_usd": "carry beyond cash"}
"""Terms of the excess over cash: those of profit, cash's own interest taken off carry."""


def attribution_chart(data: Evidence) -> Chart | None:
    """Excess over cash per month by what explains it: carry is less what cash would have earned."""
    if not data.attribution:
        return None
    rows = [_beyond_cash(row) for row in data.attribution]
    months = [str(row.get("month")) for row in rows]
    traces: list[Any] = []
    for index, (key, name) in enumerate(BEYOND_CASH.items()):
        values = [number(row.get(key)) for row in rows]
        if any(values):
            colour, pattern = FLOWS[key], {"shape": _PATTERNS[index], **_HATCH}
            traces.append(go.Bar(x=months, y=values, name=name, marker={"color": colour, "pattern": pattern}))
    total = {"mode": "markers", "marker": {"symbol": "diamond", "size": 9, "color": "#E5E5E5", "line": {"width": 1.5}}}
    traces.append(go.Scatter(x=months, y=[row["total"] for row in rows], name="total", **total))
    layout: dict[str, Any] = {
        "barmode": "relative",
        "xaxis": {"type": "category", "nticks": 16},
        "hovermode": "x unified",
    }
    title = "Excess over cash per month by source"
    return Chart(
        id="attribution",
        title=title,
        figure=framed(traces, title, data.data_label, "USD", height=420, **layout),
        caption=_residual_words(data),
        table=attribution_table(data),
    )


def _beyond_cash(row: dict[str, Any]) -> dict[str, Any]:
    """A month whose carry is what was earned beyond cash, with its total and its flag."""
    cash = number(row.get("cash_usd")) or 0.0
    carry = number(row.get("carry_usd"))
    beyond = {**row, "carry_usd": None if carry is None else carry - cash}
    total = sum(number(beyond.get(key)) or 0.0 for key in ATTRIBUTION)
    return {
        **beyond,
        "total": total,
        "profit": total + cash,
        "flag": "large residual" if row.get("large") is True else "",
    }


def attribution_table(data: Evidence) -> Table:
    """The months' excess by source under a row of their sums; a month whose residual is large is flagged."""
    rows = [_beyond_cash(row) for row in data.attribution]
    sums = {
        key: sum(number(row.get(key)) or 0.0 for row in rows) for key in ("profit", "cash_usd", "total", *ATTRIBUTION)
    }
    large = data.residual_share is not None and (number(data.residual_share) or 0.0) > LARGE_RESIDUAL
    whole = {"month": "all", "residual_share": data.residual_share, "flag": "large residual" if large else ""}
    columns = {
        "month": ("month", ""),
        "profit": ("profit", "usd"),
        "cash_usd": ("of it cash's", "usd"),
        "total": ("excess over cash", "usd"),
        **{key: (name, "usd") for key, name in BEYOND_CASH.items()},
        "residual_share": ("residual, of all movement", "percent"),
        "flag": ("flag", ""),
    }
    return table([whole | sums, *rows], columns)


def profit_words(data: Evidence) -> str:
    """How much of the profit is interest that cash would have earned as well, and what made the rest."""
    if not data.attribution:
        return ""
    rows = [_beyond_cash(row) for row in data.attribution]
    profit, cash, excess = (sum(number(row.get(key)) or 0.0 for row in rows) for key in ("profit", "cash_usd", "total"))
    sums = {name: sum(number(row.get(key)) or 0.0 for row in rows) for key, name in BEYOND_CASH.items()}
    share = f" ({cash / profit:.0%} of it)" if 0.0 <= cash <= profit and profit > 0.0 else ""
    made = ", ".join(f"{name} {value:+,.0f}" for name, value in sums.items() if round(value))
    flagged = [str(row.get("month")) for row in rows if row["flag"]]
    words = (
        f"The account earned {profit:,.0f} USD; the same capital left as cash would have earned {cash:,.0f}{share}: "
        f"that is interest. Beyond cash: {excess:+,.0f} USD = {made or 'nothing'}."
    )
    if abs(sums["residual"]) > abs(excess) > 0.5:
        words += " The residual is larger than the excess itself: the Greeks do not say where it came from."
    if flagged:
        words += (
            f" Residual above {LARGE_RESIDUAL:.0%} of the month's movement in {len(flagged)} of {len(rows)} months: "
            f"{', '.join(flagged)}."
        )
    return words


def _residual_words(data: Evidence) -> str:
    share = data.residual_share or 0.0
    flag = "Large: the Greeks explain this book poorly. " if share > LARGE_RESIDUAL else ""
    return (
        f"Residual, what the Greeks do not explain: {text(share, 'percent')} of all movement. {flag}"
        "Costs are negative; diamonds are the month's excess over cash."
    )
