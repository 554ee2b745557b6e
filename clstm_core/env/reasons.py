"""Why an account may not take an action, in words: the conditions of `actions.sizes_and_mask`, asked one by one."""

from collections.abc import Callable

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.actions import sizes_and_mask
from clstm_core.env.book import Book, closable_legs, delta_at_fill
from clstm_core.env.budget import LIMITS, room_for
from clstm_core.env.fills import fillable, share_fee, share_half_spread
from clstm_core.env.margin import margin_requirement
from clstm_core.env.state import AccountState
from clstm_core.env.view import MarketView, Offered
from clstm_core.plural import counted
from clstm_core.specs import ACTIONS, CLOSE_ALL, FIRST_TEMPLATE, HEDGE_DELTA, TEMPLATES

Name = Callable[[int], str]
"""What the contract of a row is called."""


def why_not(view: MarketView, account: AccountState, book: Book, config: EnvConfig, name: Name) -> dict[str, str]:
    """Each action that the only account may not take, with the first reason that forbids it.

    Shapes: account, book of one account
    """
    offered = view.offered(account.snapshot_index_N)
    _, mask = sizes_and_mask(offered, account, book, view.move_S, config)
    found = {}
    for index in (~mask[0]).nonzero()[:, 0].tolist():
        if index == CLOSE_ALL:
            found[ACTIONS[index]] = _close(account, book, name)
        elif index == HEDGE_DELTA:
            found[ACTIONS[index]] = _hedge(view, book, config)
        else:
            found[ACTIONS[index]] = _package(index - FIRST_TEMPLATE, offered, view, account, book, config, name)
    return found


def _close(account: AccountState, book: Book, name: Name) -> str:
    holdings = account.holdings
    stuck = ~closable_legs(holdings, book.facts)[0]
    if not stuck.any():
        return "nothing is held"
    named = ", ".join(name(row) for row in holdings.row[0][stuck].tolist())
    return f"no quote to close {named} on"


def _hedge(view: MarketView, book: Book, config: EnvConfig) -> str:
    delta = delta_at_fill(book, config)
    if float(delta.abs()) < 1:
        return f"the delta of what is held is {float(delta):+.2f} shares: less than one"
    trade = -torch.round(delta)
    pnl = book.pnl + (trade * book.spot)[:, None] * view.move_S
    cost = trade.abs() * book.spot * share_half_spread(config) + share_fee(trade, config)
    margin = margin_requirement(pnl[:, 1:], book.short_contracts, config)
    if float(margin) > float(book.equity - cost):
        return f"the margin after it, {float(margin):,.0f}, would exceed the equity"
    return f"{float(trade):+,.0f} shares would exceed the risk budget"


def _package(
    index: int,
    offered: Offered,
    view: MarketView,
    account: AccountState,
    book: Book,
    config: EnvConfig,
    name: Name,
) -> str:
    template, rows = TEMPLATES[index], offered.row_NAP[0, index]
    legs = list(zip(template.legs, rows.tolist(), strict=False))
    if missing := [cell for (cell, _), row in legs if row < 0]:
        return f"no contract is listed and quoted for the cell {', '.join(cell.replace('_', ' ') for cell in missing)}"
    facts, quantity = view.facts(rows)[: len(legs)], offered.quantity_AP[index, : len(legs)]
    quoted = fillable(quantity, facts[:, col.CAN_BUY], facts[:, col.CAN_SELL])
    if not quoted.all():
        at = int((~quoted).nonzero()[0])
        return f"{name(legs[at][1])} has no {'ask' if quantity[at] > 0 else 'bid'}"
    if len({row for _, row in legs}) < len(legs):
        return "two of its legs would be one contract"
    unit = offered.unit_NAC[0, index]
    room, taken = room_for(book, account.shares_N, account.premium_sold_N, config)[0], unit[col.UNIT_LIMITS]
    least = int((room / taken).argmin())
    size = torch.floor(room / taken).amin()
    if size < 1:
        needs, left = float(taken[least]), float(room[least])
        return f"one unit takes {needs:,.0f} of the limit on {LIMITS[least]}, {left:,.0f} is left"
    free = int((account.leg_quantity_NL[0] == 0).sum())
    if len(legs) > free:
        return f"it has {counted(len(legs), 'leg')}, and {free} more may be held"
    return f"the margin of {float(size):,.0f} units and of what is held would exceed the equity"
