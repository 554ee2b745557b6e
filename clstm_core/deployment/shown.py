"""What an order and the book after it are, as plain numbers for a person: contracts, prices, Greeks, margin, budget."""

from typing import Any

import numpy as np
import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.book import Book
from clstm_core.env.budget import POINT, of_equity, taken
from clstm_core.env.fills import share_price
from clstm_core.env.state import AccountState, Holdings
from clstm_core.env.trading import Decision, Execution
from clstm_core.market.clock import DAYS_YEAR
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import RIGHT_CALL

SHARES = "shares of an index-tracking proxy"


def fills_of(
    market: MarketTensors, account: AccountState, order: Decision, filled: Execution, config: EnvConfig
) -> list[dict[str, Any]]:
    """What one account's order would trade, a row per contract and one for shares.

    Units: quantity in contracts or shares, always positive; prices per share; `fill` is what backtests assume; `cash`
           what comes in (positive) or goes out at that price, before fees, in the account's currency
    """
    parts = (
        (account.leg_row_NL[0], filled.close_quantity[0], filled.close_price[0], "close"),
        (order.row[0], filled.open_quantity[0], filled.open_price[0], "open"),
    )
    found = [
        _contract(market, row, quantity, price, why)
        for rows, quantities, prices, why in parts
        for row, quantity, price in zip(rows.tolist(), quantities.tolist(), prices.tolist(), strict=True)
        if quantity != 0
    ]
    shares = filled.share_quantity[0].sum()
    if shares != 0:
        price = float(share_price(shares, filled.book.spot[0], config))
        spot = float(filled.book.spot[0])
        found.append(
            {
                "contract": SHARES,
                **_side(float(shares), price, 1.0),
                "why": "hedge" if bool(order.hedge_shares[0]) else "package",
                "bid": None,
                "mid": spot,
                "ask": None,
            }
        )
    return found


def after_of(book: Book, holdings: Holdings) -> dict[str, float]:
    """Equity, Greeks and margin of one book.

    Units: currency of the account; delta in shares; dollar gamma per 1% of spot; vega per volatility point; theta per
           calendar day
    """
    spot = float(book.spot)
    found = {
        "equity": float(book.equity),
        "cash": float(holdings.cash),
        "shares": float(holdings.shares),
        "option_legs": float((holdings.quantity != 0).sum()),
        "delta_shares": float(book.delta),
        "dollar_delta": float(book.delta) * spot,
        "dollar_gamma_per_percent": 0.01 * float(book.sums[0, col.GAMMA]) * spot * spot,
        "vega_per_point": POINT * float(book.sums[0, col.VEGA]),
        "theta_per_day": float(book.sums[0, col.THETA]) / DAYS_YEAR,
        "margin": float(book.margin),
        "margin_of_equity": float(of_equity(book.margin, book.equity)),
        "loss_in_the_crash": -float(book.crash),
    }
    return {name: value + 0.0 for name, value in found.items()}  # nothing of something is 0 and not -0


def budget_of(book: Book, holdings: Holdings, premium: torch.Tensor, config: EnvConfig) -> list[dict[str, Any]]:
    """Use and cap of each limit of the risk budget, of one book: shares of its equity.

    Args:
        premium: sold to open in the account's stretch, this order's own included
    """
    use = of_equity(taken(book, holdings.shares, premium), book.equity[:, None])[0].tolist()
    caps = {
        "net exposure": config.max_net_exposure,
        "gross exposure": config.max_gross_exposure,
        "loss in the crash": config.max_crash_loss,
        "vega per point": config.max_vega,
        "premium sold": config.max_premium_sold,
    }
    return [
        {"limit": name, "used": used + 0.0, "cap": cap, "for_actions": config.budget_headroom * cap}
        for used, (name, cap) in zip(use, caps.items(), strict=True)
    ]


def _contract(market: MarketTensors, row: int, quantity: float, price: float, why: str) -> dict[str, Any]:
    contract = int(market.row_contract_Q[row])
    expiration = np.datetime64(int(market.expiration_K[contract]), "ns").astype("datetime64[D]")
    bid, ask = float(market.bid_Q[row]), float(market.ask_Q[row])
    return {
        "contract": market.contract_id(contract),
        "right": "call" if int(market.right_K[contract]) == RIGHT_CALL else "put",
        "strike": float(market.strike_K[contract]),
        "expiration": str(expiration),
        **_side(quantity, price, float(market.multiplier_K[contract])),
        "why": why,
        "bid": bid,
        "mid": 0.5 * (bid + ask),
        "ask": ask,
    }


def _side(quantity: float, price: float, multiplier: float) -> dict[str, Any]:
    return {
        "side": "buy" if quantity > 0 else "sell",
        "quantity": abs(quantity),
        "fill": price,
        "cash": -quantity * price * multiplier,
    }
