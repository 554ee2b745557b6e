"""What one session left, as columns of the log: account, flows, use of the budget, Greeks, legs and simulated fills."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from clstm_core.env.state import FILL_REASONS, FIRST_SHARE_SLOT
from clstm_core.evaluation.ledgers import BUDGET, EQUITY_DETAIL, FLAGS
from clstm_core.shadow.columns import GREEKS
from clstm_core.shadow.simulate import Shown, Simulator


def order_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """An intended order (`shown.fills_of`); its limit is the price that backtests assume at these quotes."""
    names = ("contract", "side", "quantity", "why", "bid", "ask")
    return {name: row[name] for name in names} | {"limit_price": row["fill"]}


def book_columns(simulator: Simulator, shown: Shown) -> dict[str, Any]:
    """Account, flows, use of the budget, Greeks and fills after a session, as columns of the log."""
    account, market, book = shown.account, simulator.market, shown.standing.book
    greeks = simulator.greeks(shown)
    named = {f"book_{name}" if name in BUDGET else name: greeks[name] for name in GREEKS}
    own = shown.standing.account
    legs = []
    for leg in account.legs:
        row = int(own.leg_row_NL[0, leg.slot])
        legs.append(
            {
                "slot": leg.slot,
                "contract_id": leg.contract_id,
                "quantity": leg.quantity,
                "entry_price": leg.entry_price,
                "multiplier": float(market.multiplier_K[market.row_contract_Q[row]]),
                "mark": float(market.mark_Q[row]),
                "stale": bool(market.stale_Q[row]),
            }
        )
    columns: dict[str, Any] = {
        "spot": float(book.spot[0]),
        "cash_usd": account.cash,
        "shares": account.shares,
        "equity_usd": account.equity,
        "entry_equity_usd": account.entry_equity,
        "age": account.age,
        "premium_sold_usd": account.premium_sold,
        "margin_usd": float(book.margin[0]),
        "legs": legs,
        "fills": [],
        **{name: (None if value != value else value) for name, value in named.items()},
    }
    if (ledger := shown.ledger) is None:
        zero = dict.fromkeys([*BUDGET, *EQUITY_DETAIL, "interest_usd", "dividends_usd", "borrow_usd"], 0.0)
        return (
            columns
            | zero
            | dict.fromkeys((*FLAGS, "ordered", "unfilled", "rejected"), False)
            | {
                "options_mark_usd": 0.0,
                "cash_return": 0.0,
                "equity_liquidation_usd": account.equity,
            }
        )
    years = float(market.time_years_T[1] - market.time_years_T[0])
    fields = {"interest_usd": "interest_N", "dividends_usd": "dividends_N", "borrow_usd": "borrow_N"}
    fields |= {"options_mark_usd": "option_mark_N"} | EQUITY_DETAIL | BUDGET
    columns |= {name: float(getattr(ledger, field)[0]) for name, field in fields.items()}
    flags = (*FLAGS, "ordered", "unfilled", "rejected")
    columns |= {name: bool(getattr(ledger, f"{name}_N")[0]) for name in flags}
    return columns | {
        "cash_return": float(np.expm1(float(market.rate_T[0]) * years)),
        "fills": _fills(simulator, shown),
    }


def _fills(simulator: Simulator, shown: Shown) -> list[dict[str, Any]]:
    ledger, market = shown.ledger, simulator.market
    assert ledger is not None
    found = []
    for slot in (ledger.fill_quantity_NX[0] != 0).nonzero()[:, 0].tolist():

        def of(name: str, slot: int = slot) -> float:
            return float(getattr(ledger, f"fill_{name}_NX")[0, slot])

        option = slot < FIRST_SHARE_SLOT
        found.append(
            {
                "snapshot": int(market.snapshot_T[int(of("snapshot"))]),
                "kind": "option" if option else "underlying",
                "contract_id": market.contract_id(int(of("contract"))) if option else None,
                "quantity": of("quantity"),
                "price": of("price"),
                "multiplier": of("multiplier"),
                "fee_usd": of("fee"),
                "reason": FILL_REASONS[int(of("reason"))],
                "bid": of("bid"),
                "ask": of("ask"),
            }
        )
    return found
