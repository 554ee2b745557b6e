"""Executing orders: one order is one package, filled whole at the quotes of its fill snapshot or not at all."""

from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.book import Book, closable_legs, delta_at_fill, value_book
from clstm_core.env.budget import may_fill, trim
from clstm_core.env.fills import contract_fee, fillable, share_fee, share_half_spread, share_price, side_price
from clstm_core.env.state import Holdings, Orders, holds_any, where_env
from clstm_core.env.view import MarketView


class Decision(NamedTuple):
    """Orders as numbers that the fill snapshot cannot change: rows at the fill snapshot (-1 = gone), quantities.

    Shapes: row, quantity [N, P] (quantity 0 = no leg); close [N] bool; package_shares, hedge_shares [N]
    """

    row: torch.Tensor
    quantity: torch.Tensor
    close: torch.Tensor
    package_shares: torch.Tensor
    hedge_shares: torch.Tensor


class Execution(NamedTuple):
    """What an order did: holdings after it and their book, quantities traded by slot, prices, and why it did not fill.

    Shapes: close_* [N, L], open_* [N, P], share_quantity [N, 3] (close, open, hedge); flags and sums [N]
    """

    holdings: Holdings
    book: Book
    close_quantity: torch.Tensor
    close_price: torch.Tensor
    open_quantity: torch.Tensor
    open_price: torch.Tensor
    open_facts: torch.Tensor
    share_quantity: torch.Tensor
    fees: torch.Tensor
    slippage: torch.Tensor
    premium: torch.Tensor  # taken for options sold to open
    ordered: torch.Tensor
    unfilled: torch.Tensor
    rejected: torch.Tensor


def decide(orders: Orders, book: Book, facts: torch.Tensor, config: EnvConfig) -> Decision:
    """Fix the hedge's whole shares at the decision: minus the delta of the book as it will stand after this order.

    Shapes: facts [N, P, CRASH], `MarketView.quotes` of the rows ordered, read where a hedge is ordered too
    """
    dtype = facts.dtype
    quantity = torch.where(orders.leg_row_NP >= 0, orders.leg_quantity_NP.to(dtype), 0.0)
    bought = orders.share_quantity_N.to(dtype)
    opened = (quantity * facts[..., col.MULTIPLIER] * facts[..., col.DELTA]).sum(dim=1)
    delta = torch.where(orders.close_all_N, 0.0, delta_at_fill(book, config)) + opened + bought
    return Decision(
        row=orders.leg_row_NP,
        quantity=quantity,
        close=orders.close_all_N,
        package_shares=bought,
        hedge_shares=torch.where(orders.hedge_N, -torch.round(delta), 0.0),
    )


def execute(
    view: MarketView,
    config: EnvConfig,
    decision: Decision,
    holdings: Holdings,
    book: Book,
    premium_sold: torch.Tensor,
) -> Execution:
    """Fill each order against its snapshot's quotes, or leave the account as it is.

    An order fills when every leg it trades is quoted on the side needed, free slots are enough, the margin of the book
    after it is no more than the equity after its costs, and its risk budget allows that book. An order that only closes
    needs neither margin nor budget.

    Args:
        premium_sold: of the account, [N], before this order
    """
    quantity, held = decision.quantity, holdings.quantity
    spot = book.spot
    open_facts = view.facts(decision.row)
    closing = torch.where(decision.close[:, None], -held, 0.0)
    share_quantity = torch.stack(
        [torch.where(decision.close, -holdings.shares, 0.0), decision.package_shares, decision.hedge_shares], dim=1
    )
    opens = (quantity != 0).any(dim=1) | (share_quantity[:, 1:] != 0).any(dim=1)
    closes = (closing != 0).any(dim=1) | (share_quantity[:, 0] != 0)

    close_price = side_price(closing, book.facts[..., col.BUY], book.facts[..., col.SELL])
    open_price = side_price(quantity, open_facts[..., col.BUY], open_facts[..., col.SELL])
    open_quoted = fillable(quantity, open_facts[..., col.CAN_BUY], open_facts[..., col.CAN_SELL])
    open_quoted = (quantity == 0) | ((decision.row >= 0) & open_quoted)
    close_quoted = ~decision.close | closable_legs(holdings, book.facts).all(dim=1)
    quoted = open_quoted.all(dim=1) & close_quoted

    close_weight = closing * book.facts[..., col.MULTIPLIER]
    open_weight = quantity * open_facts[..., col.MULTIPLIER]
    share_slippage = share_quantity.abs().sum(dim=1) * spot * share_half_spread(config)
    slippage = (
        (close_weight * (close_price - book.facts[..., col.MARK])).sum(dim=1)
        + (open_weight * (open_price - open_facts[..., col.MARK])).sum(dim=1)
        + share_slippage
    )
    fees = (
        contract_fee(closing, config).sum(dim=1)
        + contract_fee(quantity, config).sum(dim=1)
        + share_fee(share_quantity, config).sum(dim=1)
    )
    paid = (
        (close_weight * close_price).sum(dim=1)
        + (open_weight * open_price).sum(dim=1)
        + (share_quantity * share_price(share_quantity, spot[:, None], config)).sum(dim=1)
    )
    after, facts, enough_slots = _place(decision, holdings, open_price, book.facts, open_facts)
    after = after._replace(cash=holdings.cash - paid - fees, shares=holdings.shares + share_quantity.sum(dim=1))
    candidate = value_book(after, facts, spot, view.move_S, config)
    premium = ((-open_weight).clamp(min=0.0) * open_price).sum(dim=1)
    within = may_fill(after, candidate, holdings, book, premium, premium_sold, config)
    holds = ~opens | (enough_slots & (candidate.margin <= candidate.equity) & within)

    ordered = opens | closes
    fills = ordered & quoted & holds
    return Execution(
        holdings=Holdings(*(where_env(fills, new, old) for new, old in zip(after, holdings, strict=True))),
        book=Book(*(where_env(fills, new, old) for new, old in zip(candidate, book, strict=True))),
        close_quantity=where_env(fills, closing, 0.0),
        close_price=close_price,
        open_quantity=where_env(fills, quantity, 0.0),
        open_price=open_price,
        open_facts=open_facts,
        share_quantity=where_env(fills, share_quantity, 0.0),
        fees=where_env(fills, fees, 0.0),
        slippage=where_env(fills, slippage, 0.0),
        premium=where_env(fills, premium, 0.0),
        ordered=ordered,
        unfilled=ordered & ~quoted,
        rejected=ordered & quoted & ~holds,
    )


def _place(
    decision: Decision, holdings: Holdings, price: torch.Tensor, held_facts: torch.Tensor, open_facts: torch.Tensor
) -> tuple[Holdings, torch.Tensor, torch.Tensor]:
    """Legs after the order and their facts: the k-th leg opened takes the k-th free slot; and whether slots suffice."""
    free = (holdings.quantity == 0) | decision.close[:, None]
    active = decision.quantity != 0
    slot_rank = free.cumsum(dim=1)
    leg_rank = active.cumsum(dim=1)
    match = (slot_rank[:, :, None] == leg_rank[:, None, :]) & free[:, :, None] & active[:, None, :]  # [N, L, P]
    taken = match.any(dim=2)

    def put(new: torch.Tensor, old: torch.Tensor, empty: float) -> torch.Tensor:
        kept = torch.where(free, empty, old)
        return torch.where(taken, (match * new[:, None, :]).sum(dim=2), kept)

    placed = holdings._replace(
        row=put(decision.row, holdings.row, -1),
        quantity=put(decision.quantity, holdings.quantity, 0.0),
        entry_price=put(price, holdings.entry_price, 0.0),
    )
    n_accounts, n_legs, width = open_facts.shape
    leg = match.to(torch.int8).argmax(dim=2) + n_legs * torch.arange(n_accounts, device=taken.device)[:, None]
    opened = open_facts.reshape(-1, width).index_select(0, leg.view(-1)).view_as(held_facts)
    facts = torch.where(taken[..., None], opened, held_facts)
    return placed, facts, slot_rank[:, -1] >= leg_rank[:, -1]


class Liquidation(NamedTuple):
    """What a breach closed: quantities traded [N, L] and [N], their prices, sums [N], the flags [N]."""

    holdings: Holdings
    quantity: torch.Tensor
    price: torch.Tensor
    share_quantity: torch.Tensor
    fees: torch.Tensor
    slippage: torch.Tensor
    liquidated: torch.Tensor
    over_budget: torch.Tensor


def liquidate(holdings: Holdings, book: Book, config: EnvConfig) -> Liquidation:
    """Close whatever trades, legs one by one and all shares, of accounts whose margin exceeds their equity.

    Of accounts over their risk budget as well, unless trading some shares back is enough to keep it.
    """
    cure, something = trim(book, holdings.shares, config), holds_any(holdings)
    uncured = cure.over.any(dim=1)
    breach = ((book.margin > book.equity) | uncured) & something
    trades = closable_legs(holdings, book.facts) & breach[:, None]
    quantity = torch.where(trades, -holdings.quantity, 0.0)
    price = side_price(quantity, book.facts[..., col.BUY], book.facts[..., col.SELL])
    share_quantity = torch.where(breach, -holdings.shares, cure.shares)
    weight = quantity * book.facts[..., col.MULTIPLIER]
    fees = contract_fee(quantity, config).sum(dim=1) + share_fee(share_quantity, config)
    share_cost = share_quantity * share_price(share_quantity, book.spot, config)
    slippage = (weight * (price - book.facts[..., col.MARK])).sum(dim=1) + (
        share_quantity.abs() * book.spot * share_half_spread(config)
    )
    return Liquidation(
        holdings=Holdings(
            cash=holdings.cash - (weight * price).sum(dim=1) - share_cost - fees,
            shares=holdings.shares + share_quantity,
            row=torch.where(trades, -1, holdings.row),
            quantity=torch.where(trades, 0.0, holdings.quantity),
            entry_price=torch.where(trades, 0.0, holdings.entry_price),
        ),
        quantity=quantity,
        price=price,
        share_quantity=share_quantity,
        fees=fees,
        slippage=slippage,
        liquidated=breach,
        over_budget=((cure.shares != 0) | uncured) & something,
    )
