"""What the sweeps say to a reader: the answer first, and nothing that an interval does not hold."""

from collections.abc import Mapping, Sequence
from typing import Any

FLATTERS = "would have flattered it"
HARMS = "would have made it look worse"
UNTOLD = "no difference that can be told from zero"
TOO_SHORT = "too short to tell"
UNRATED = "no Sharpe ratio to compare: one of the two never moved against cash"

Rows = Sequence[Mapping[str, Any]]


def effect(inflation: float | None, low: float | None, high: float | None) -> str:
    """What a convention did to the Sharpe ratio, by its interval alone."""
    if inflation is None:
        return UNRATED
    if low is None or high is None:
        return TOO_SHORT
    return FLATTERS if low > 0.0 else HARMS if high < 0.0 else UNTOLD


def sins_words(rows: Rows) -> str:
    """What each sin would have bought, in a few sentences; the clean walk is the first of `rows`."""
    if not rows:
        return ""
    clean, *sins = rows
    said = []
    for verdict, words in (
        (FLATTERS, "raised the Sharpe ratio by more than chance explains"),
        (HARMS, "lowered it by more than chance explains"),
        (UNTOLD, "made no difference that can be told from zero"),
        (TOO_SHORT, "cannot be judged on so few sessions"),
        (UNRATED, "left nothing to compare"),
    ):
        if members := [_with_figures(row) for row in sins if row["verdict"] == verdict]:
            said.append(f"{len(members)} {words}: {'; '.join(members)}")
    return (
        f"Each convention below is switched alone around the clean walk of {clean['policy']}, which returned "
        f"{clean['total_return']:+.1%}. Nobody could have traded so; nothing here counts as a result. "
        + ". ".join(said)
        + "."
    )


def _with_figures(row: Mapping[str, Any]) -> str:
    name = str(row["title"])
    name = name[:1].lower() + name[1:]
    if row["inflation"] is None:
        return name
    if row["ci_low"] is None:
        return f"{name} ({row['inflation']:+.2f})"
    return f"{name} ({row['inflation']:+.2f}, {row['confidence']:.0%} CI {row['ci_low']:+.2f} to {row['ci_high']:+.2f})"


def delays_words(rows: Rows) -> str:
    """What the session of the fill is worth to the same orders."""
    if not rows:
        return ""
    made = {row["fill_lag"]: row["total_return"] for row in rows}
    possible = [f"{made[lag]:+.1%} {_when(lag)}" for lag in sorted(made) if lag >= 0]
    before = [f"{made[lag]:+.1%} {_when(lag)}" for lag in sorted(made) if lag < 0]
    said = f"The same orders, held fixed, return {', '.join(possible)}."
    return said + (f" Filled before they were decided, which nobody can do: {', '.join(before)}." if before else "")


def _when(lag: int) -> str:
    if lag == 0:
        return "at the decision's own quotes"
    count = "a session" if abs(lag) == 1 else f"{abs(lag)} sessions"
    return f"{count} {'later' if lag > 0 else 'earlier'}"


def costs_words(costs: Rows, break_evens: Rows, policy: str) -> str:
    """How much spread the judged policy bears."""
    mine = [row for row in costs if row["policy"] == policy]
    even = next((row for row in break_evens if row["policy"] == policy), None)
    if not mine or even is None:
        return ""
    paid = ", ".join(f"{row['less_cash']:+.1%} at {row['paid']}" for row in mine)
    if even["spread_multiple"] is None:
        return f"Beyond cash it returns {paid}. Its break-even spread: {even['verdict']}."
    return f"Beyond cash it returns {paid}. It earns what cash does at {even['verdict']}."
