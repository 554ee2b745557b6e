"""Tables of a retraining's page: stages, figures of the judged days, regimes, days and decisions, as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from reports.charts import NOTHING, number, text
from reports.shadow_page import NO_BREAK

Story = Mapping[str, Any]
Row = dict[str, Any]

WITHOUT = NOTHING
TOO_FEW = "too few to tell"

FIGURES = (
    ("log growth", "growth", "percent"),
    ("log growth beyond cash", "beyond_cash", "percent"),
    ("largest fall from a peak", "max_drawdown", "percent"),
    ("mean of the worst 5% of sessions", "expected_shortfall", "percent"),
    ("luck looks as good in fair worlds", "luck_p", "probability"),
    ("median time of a decision, us", "latency_p50_us", "count"),
)
"""Rows of the table: words, name of the figure, how it is written."""


def figure_table(starts: Sequence[Story]) -> list[Row]:
    """A row per figure: its words, and one cell per start, for the champion and for cash."""
    if not starts:
        return []
    accounts = [start["accounts"]["challenger"] for start in starts]
    accounts += [starts[0]["accounts"]["champion"], starts[0]["accounts"]["cash"]]
    return [
        {"words": words, "cells": [_figure(each.get(name), how) for each in accounts]} for words, name, how in FIGURES
    ]


def _figure(value: Any, how: str) -> str:
    if how == "percent":
        return percent(value)
    return text(value, "percent" if how == "probability" else how)


def percent(value: Any) -> str:
    """A share or a logarithm with its sign, in percent; a dash for what is no number."""
    found = number(value)
    return NOTHING if found is None else f"{100 * found + 0.0:+.2f}%"


def interval(estimate: float, low: float | None, high: float | None) -> str:
    """An estimate with its interval at 95%."""
    between = TOO_FEW if low is None or high is None else f"{low:+.2f} to {high:+.2f}"
    return f"{estimate:+.2f} ({between})"


def regime_table(starts: Sequence[Story]) -> list[Row]:
    """A row per regime: sessions, and each start's difference from what it is held against."""
    if not starts:
        return []
    return [
        {
            "regime": row["regime"],
            "sessions": f"{row['sessions']:,}",
            "cells": [
                NOTHING if (own := start["regimes"][at])["estimate"] is None
                else interval(own["estimate"], own["low"], own["high"])
                for start in starts
            ],
        }
        for at, row in enumerate(starts[0]["regimes"])
    ]  # fmt: skip


def stage_rows(stages: Sequence[Story]) -> list[Row]:
    """A start's stages: name, outcome, figure and limit with their units, words."""
    return [
        {
            "name": row["name"],
            "passed": row["passed"],
            "word": "passed" if row["passed"] else "failed",
            "figure": measured(row["figure"], row["unit"]),
            "limit": NOTHING if row["limit"] is None else f"{row['side']} {measured(row['limit'], row['unit'])}",
            "words": row["words"],
        }
        for row in stages
    ]


def measured(value: float | None, unit: str) -> str:
    """A stage's figure with its unit, in as many digits as one reads."""
    if value is None:
        return NOTHING
    if unit == "share":
        return text(value, "percent")
    if unit == "growth":
        return percent(value)
    if unit == "bp per session":
        return f"{value + 0.0:+.2f} bp"
    if unit == "nats":
        return f"{value:.2g} nats"
    return f"{value + 0.0:+.4f}" if value else "0"


def days_rows(found: Story, starts: Sequence[Story]) -> list[Row]:
    """First and last day and sessions of each window; of the judged one the sessions that were traded."""
    rows = [dict(row) for row in found["days"]]
    if starts:
        days = starts[0]["days"]["date"]
        traded = {"window": "judged", "first": days[0], "last": days[-1], "sessions": len(days)}
        rows = [row for row in rows if row["window"] != "judged"] + [traded]
    else:
        rows = [row | {"window": "kept to judge on"} if row["window"] == "judged" else row for row in rows]
    return [
        row | {"first": day(row["first"]), "last": day(row["last"]), "sessions": f"{row['sessions']:,}"} for row in rows
    ]


def decision_rows(starts: Sequence[Story]) -> list[Row]:
    """Every decision on a start's bundle."""
    return [
        {
            "words": start["words"],
            "number": row["number"],
            "day": day(row["created"]),
            "decision": row["decision"],
            "by": "a person, by force" if row["forced"] else row["by"],
            "failed": ", ".join(row["failed"]) or NOTHING,
            "bad": bool(row["failed"]),
            "reason": row["reason"],
        }
        for start in starts
        for row in start["decisions"]
    ]


def day(moment: Any) -> str:
    """A date that does not break over two lines."""
    return str(moment)[:10].replace("-", NO_BREAK)
