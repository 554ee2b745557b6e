"""A decision as lines of text, what matters most first."""

from collections.abc import Iterator
from typing import Any

from clstm_core.artifacts.manifests.deployment import UNQUALIFIED
from clstm_core.deployment.decide import Decided


def lines_of(found: Decided) -> Iterator[str]:
    """The decision for a person: action, orders, the book after it, what may not be done and why."""
    if not found.qualified:
        why = found.standing.removeprefix(f"{UNQUALIFIED}: ")
        yield f"{UNQUALIFIED}: this policy is no champion and is not to be traded ({why})."
    yield f"On the quotes of {found.session} ({found.label}) the policy of run {found.run} {found.words}."
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found.probabilities.items())
    yield f"Action: {found.action} (likeliest: {shares})"
    yield from _orders(found)
    yield from _after(found)
    yield f"Risk budget after it, of equity (actions keep to {_headroom(found.budget):.0%} of each cap):"
    for row in found.budget:
        yield f"  {row['limit']:<18} {row['used']:>8.2%}  of {row['cap']:.2%}"
    if found.refused:
        yield f"{len(found.refused)} actions that it may not take:"
        width = max(map(len, found.refused))
        for name, reason in found.refused.items():
            yield f"  {name:<{width}}  {reason}"
    yield _memory(found)
    for note in found.notes:
        yield f"Note: {note}"
    yield "Nothing was sent anywhere, and no part of this is investment advice."


def _orders(found: Decided) -> Iterator[str]:
    if not found.orders:
        yield "Orders: none."
        return
    yield f"Orders (prices per share in {found.currency}; fill: what backtests assume at these quotes):"
    for row in found.orders:
        prices = "  ".join(f"{name} {_price(row[name])}" for name in ("bid", "mid", "ask", "fill"))
        yield f"  {row['side']:<4} {row['quantity']:>8,.0f}  {_named(row)}  {prices}  ({row['why']})"
    cash = sum(row["cash"] for row in found.orders)
    yield f"  {'brings' if cash > 0 else 'costs'} {abs(cash):,.2f} before fees"


def _named(row: dict[str, Any]) -> str:
    if "strike" not in row:
        return str(row["contract"])
    return f"{row['contract']} ({row['right']} {row['strike']:g}, {row['expiration']})"


def _price(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _after(found: Decided) -> Iterator[str]:
    a = found.after
    yield f"After it, at these quotes ({found.currency}):"
    held = f"shares {a['shares']:,.0f}, option legs {a['option_legs']:.0f}"
    yield f"  equity {a['equity']:,.0f}, cash {a['cash']:,.0f}, {held}"
    delta = f"delta {a['delta_shares']:+,.1f} shares ({a['dollar_delta']:+,.0f})"
    vega, theta = f"vega {a['vega_per_point']:+,.0f} per point", f"theta {a['theta_per_day']:+,.0f} per day"
    yield f"  {delta}, gamma {a['dollar_gamma_per_percent']:+,.0f} per 1%, {vega}, {theta}"
    margin = f"margin {a['margin']:,.0f} ({a['margin_of_equity']:.2%} of equity)"
    yield f"  {margin}, loss in the crash {a['loss_in_the_crash']:,.0f}"


def _headroom(budget: list[dict[str, Any]]) -> float:
    return budget[0]["for_actions"] / budget[0]["cap"]


def _memory(found: Decided) -> str:
    if not found.walked:
        return "Memory: none; the file holds no earlier session whose features are whole."
    return (
        f"Memory: the policy was first shown {found.walked} earlier sessions with an empty account (it remembers "
        f"{found.memory_sessions} decisions): what it would have held there is unknown to it."
    )
