"""What the sweeps say to a reader: the answer first, and nothing that an interval does not hold."""

from collections.abc import Mapping, Sequence
from typing import Any

from clstm_core.plural import counted

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
    """What each sin would have bought, the answer first; the clean walk is the first of `rows`."""
    if not rows:
        return ""
    clean, *sins = rows
    raised = _members(sins, FLATTERS)
    count = len(raised) or "none"
    parts = [
        f"Of {len(sins)} conventions that nobody may judge by, each switched alone around the clean walk of "
        f"{clean['policy']} ({clean['total_return']:+.1%}), {count} would have raised its Sharpe ratio by more than "
        "chance explains" + (f": {'; '.join(raised)}" if raised else "")
    ]
    for verdict, words in (
        (HARMS, "Lowered it by more than chance explains"),
        (UNTOLD, "Made no difference that can be told from zero"),
        (TOO_SHORT, "Cannot be judged on so few sessions"),
        (UNRATED, "Left no Sharpe ratio to compare"),
    ):
        if members := _members(sins, verdict):
            parts.append(f"{words}: {'; '.join(members)}")
    return ". ".join([*parts, "Nothing here counts as a result."])


def _members(rows: Rows, verdict: str) -> list[str]:
    return [_with_figures(row) for row in rows if row["verdict"] == verdict]


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
    possible, before = ([row for row in rows if row["possible"] is flag] for flag in (True, False))
    said = [_one_more(rows), f"The same orders, held fixed, return {_each(possible)}."]
    if before:
        said.append(f"Filled before they were decided, which nobody can do: {_each(before)}.")
    return " ".join(filter(None, said))


def _one_more(rows: Rows) -> str:
    """What a session more would cost, which is what a person would ask first."""
    clean = next((row["fill_lag"] for row in rows if row["clean"]), None)
    row = next((row for row in rows if clean is not None and row["fill_lag"] == clean + 1), None)
    if row is None:
        return ""
    change, low, high = row["growth_less_clean"], row["ci_low"], row["ci_high"]
    said = f"Filled a session later than it is judged, its growth would differ by {change:+.2f}% {row['span']}"
    if low is None or high is None:
        return f"{said}; {counted(row['n_dates'], 'session is', 'sessions are')} too few for an interval."
    told = "not told from zero" if low <= 0.0 <= high else "more than chance explains"
    return f"{said} ({row['confidence']:.0%} CI {low:+.2f}% to {high:+.2f}%: {told})."


def _each(rows: Rows) -> str:
    return ", ".join(f"{row['total_return']:+.1%} {_when(row['fill_lag'])}{_left_out(row)}" for row in rows)


def _left_out(row: Mapping[str, Any]) -> str:
    count = row["n_missed"]
    return f" (without {counted(count, 'order')} whose contracts were not listed then)" if count else ""


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
    return f"Break-even spread: {even['verdict']}. Beyond cash it returns {paid}."
