"""Round trips: what each position made from its first contract until it was flat again, and each package of them.

    profit of all trips = change of equity - interest - dividends + borrow

holds to the cent, with what is open at the end marked at mid. Prices are fills, so the spread paid is inside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

Rows = list[dict[str, Any]]

UNDERLYING = "underlying"
_FLAT = 1e-9


@dataclass(slots=True)
class _Open:
    """A position on its way."""

    step: int
    snapshot: Any
    long: bool
    quantity: float = 0.0
    most: float = 0.0
    paid: float = 0.0
    fees: float = 0.0

    def trade(self, quantity: float, price: float, multiplier: float, fee: float) -> None:
        self.quantity += quantity
        self.most = max(self.most, abs(self.quantity))
        self.paid += quantity * price * multiplier
        self.fees += fee


def round_trips(fills: pl.DataFrame, equity: pl.DataFrame, positions: pl.DataFrame) -> Rows:
    """Every trip of one episode, in the order of its opening; a fill through zero ends one trip and begins another.

    Each row: contract (`underlying` for shares), side (long or short, of the opening fill), opened and closed (ISO
    dates; None while open), step of the opening, days held (calendar), most held, pnl_usd net of fees, fees_usd,
    reason (of the fill that closed it).

    Assumes: what is still open is worth its last mark, shares their last spot
    """
    marks = _last_marks(equity, positions)
    end = equity["snapshot"].max()
    ways: dict[str, _Open] = {}
    trips: list[dict[str, Any]] = []
    for fill in fills.sort("step", maintain_order=True).iter_rows(named=True):
        name = fill["contract_id"] or UNDERLYING
        terms = fill["price"], fill["multiplier"]
        left, fee = fill["quantity"], fill["fee_usd"]
        way = ways.get(name)
        if way is not None and way.quantity * left < 0.0:
            closing = max(-abs(way.quantity), -abs(left)) * (1.0 if way.quantity > 0.0 else -1.0)
            part = fee * closing / left
            way.trade(closing, *terms, part)
            left, fee = left - closing, fee - part
            if abs(way.quantity) <= _FLAT:
                trips.append(_row(name, ways.pop(name), fill["snapshot"], -way.paid, fill["reason"]))
        if abs(left) > _FLAT:
            ways.setdefault(name, _Open(fill["step"], fill["snapshot"], left > 0.0)).trade(left, *terms, fee)
    for name, way in ways.items():
        worth = way.quantity * marks.get(name, 0.0)
        trips.append(_row(name, way, end, worth - way.paid, None))
    return sorted(trips, key=lambda trip: (trip["step"], trip["contract"]))


def packages(trips: Sequence[Mapping[str, Any]], decisions: pl.DataFrame) -> Rows:
    """Options' trips that one decision opened, as one trade each; shares are left out, being its hedge.

    Each row: action (that opened it), opened, closed (of the last leg; None while one is open), days, legs, contracts,
    pnl_usd and fees_usd.
    """
    names = dict(decisions.select("step", "action_name").iter_rows())
    grouped: dict[int, list[Mapping[str, Any]]] = {}
    for trip in trips:
        if trip["contract"] != UNDERLYING:
            grouped.setdefault(trip["step"], []).append(trip)
    return [
        {
            "action": names.get(step, ""),
            "opened": legs[0]["opened"],
            "closed": None if any(leg["closed"] is None for leg in legs) else max(leg["closed"] for leg in legs),
            "days": max(leg["days"] for leg in legs),
            "legs": len(legs),
            "contracts": ", ".join(f"{'+' if leg['side'] == 'long' else '-'}{leg['contract']}" for leg in legs),
            "pnl_usd": sum(leg["pnl_usd"] for leg in legs),
            "fees_usd": sum(leg["fees_usd"] for leg in legs),
        }
        for step, legs in sorted(grouped.items())
    ]


def trip_figures(trades: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Count, hit rate, payoff, profit factor, mean days and sums of closed trades; those still open are counted apart.

    Units: hit_rate: share of trades with a profit among those that made or lost something; payoff: mean profit over
           mean loss; profit_factor: sum of profits over sum of losses; both None where nothing was lost
    """
    closed = [trade for trade in trades if trade["closed"] is not None]
    profits = [trade["pnl_usd"] for trade in closed if trade["pnl_usd"] > 0.0]
    losses = [-trade["pnl_usd"] for trade in closed if trade["pnl_usd"] < 0.0]
    decided = len(profits) + len(losses)
    both = bool(profits and losses)
    return {
        "closed": len(closed),
        "open": len(trades) - len(closed),
        "hit_rate": len(profits) / decided if decided else None,
        "mean_profit_usd": sum(profits) / len(profits) if profits else None,
        "mean_loss_usd": -sum(losses) / len(losses) if losses else None,
        "payoff": (sum(profits) / len(profits)) / (sum(losses) / len(losses)) if both else None,
        "profit_factor": sum(profits) / sum(losses) if losses else None,
        "mean_days": sum(trade["days"] for trade in closed) / len(closed) if closed else None,
        "pnl_usd": sum(trade["pnl_usd"] for trade in closed),
        "open_pnl_usd": sum(trade["pnl_usd"] for trade in trades if trade["closed"] is None),
    }


def by_action(trades: Sequence[Mapping[str, Any]]) -> Rows:
    """`trip_figures` of each action's packages, the most frequent first, and of all of them under `all`."""
    names: dict[str, list[Mapping[str, Any]]] = {}
    for trade in trades:
        names.setdefault(trade["action"], []).append(trade)
    groups = sorted(names.items(), key=lambda item: (-len(item[1]), item[0]))
    return [{"action": name, **trip_figures(rows)} for name, rows in [*groups, ("all", list(trades))] if rows]


def _row(name: str, way: _Open, at: Any, gain: float, reason: str | None) -> dict[str, Any]:
    return {
        "contract": name,
        "side": "long" if way.long else "short",
        "step": way.step,
        "opened": way.snapshot.date().isoformat(),
        "closed": at.date().isoformat() if reason else None,
        "days": (at.date() - way.snapshot.date()).days,
        "most": way.most,
        "pnl_usd": gain - way.fees,
        "fees_usd": way.fees,
        "reason": reason,
    }


def _last_marks(equity: pl.DataFrame, positions: pl.DataFrame) -> dict[str, float]:
    """Worth of one contract, or one share, at the last snapshot."""
    last = equity.sort("step").tail(1)
    held = positions.filter(pl.col("step") == last["step"].item())
    marks = {row["contract_id"]: row["mark"] * row["multiplier"] for row in held.iter_rows(named=True)}
    return {**marks, UNDERLYING: float(last["spot"].item())}
