"""One account's holdings against one snapshot's quotes: marks, Greeks, margin, all as gathers and sums."""

from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.fills import contract_fee, fillable, share_fee, share_price, side_price
from clstm_core.env.margin import margin_requirement
from clstm_core.env.state import Holdings


class Book(NamedTuple):
    """Holdings valued at one snapshot.

    Shapes: facts_NLC what the view says of the legs; weight_NL contracts x multiplier; sums_NC weighted sums of
            the columns; pnl_NS profit of options and shares in the crash, then by scenario; the rest [N]
    """

    facts: torch.Tensor
    weight: torch.Tensor
    sums: torch.Tensor
    spot: torch.Tensor
    pnl: torch.Tensor
    short_contracts: torch.Tensor
    short_call_notional: torch.Tensor
    short_put_notional: torch.Tensor
    margin: torch.Tensor
    equity: torch.Tensor
    delta: torch.Tensor  # of options and shares, in shares
    option_gross: torch.Tensor  # sum of the legs' absolute deltas, in shares

    @property
    def crash(self) -> torch.Tensor:
        """Profit [N] in the crash that the risk budget states."""
        return self.pnl[:, 0]


def value_book(
    holdings: Holdings, facts: torch.Tensor, spot: torch.Tensor, move_S: torch.Tensor, config: EnvConfig
) -> Book:
    """Mark, Greeks, scenario profits and margin of whole books.

    Shapes: facts [N, L, C]; spot [N]; move_S [1 + S], the crash's first
    """
    weight = holdings.quantity * facts[..., col.MULTIPLIER]
    sums = (weight[..., None] * facts).sum(dim=1)
    short_contracts = (-holdings.quantity).clamp(min=0.0).sum(dim=1)
    short_notional = ((-weight).clamp(min=0.0)[..., None] * facts[..., col.CALL_STRIKE : col.PUT_STRIKE + 1]).sum(dim=1)
    share_value = holdings.shares * spot
    pnl = sums[:, col.CRASH :] + share_value[:, None] * move_S
    return Book(
        facts=facts,
        weight=weight,
        sums=sums,
        spot=spot,
        pnl=pnl,
        short_contracts=short_contracts,
        short_call_notional=short_notional[:, 0],
        short_put_notional=short_notional[:, 1],
        margin=margin_requirement(pnl[:, 1:], short_contracts, config),
        equity=holdings.cash + share_value + sums[:, col.MARK],
        delta=sums[:, col.DELTA] + holdings.shares,
        option_gross=(weight * facts[..., col.DELTA]).abs().sum(dim=1),
    )


def empty_where(flag_N: torch.Tensor, book: Book, *, cash: torch.Tensor, spot: torch.Tensor) -> Book:
    """The books of accounts that have just begun, all in cash, where the flag holds; `book` elsewhere.

    Assumes: the facts of empty legs are read by nobody
    """
    kept = (torch.where(flag_N.view(-1, *[1] * (field.dim() - 1)), 0.0, field) for field in book[1:])
    emptied = Book(book.facts, *kept)
    return emptied._replace(spot=spot, equity=torch.where(flag_N, cash, book.equity))


def delta_at_fill(book: Book, config: EnvConfig) -> torch.Tensor:
    """Delta [N] of what is still held when an order decided now is filled, in shares, at the decision's Greeks.

    With a fill lag, legs that settle at the next snapshot are gone by then, and everybody knows it.
    """
    if config.fill_lag == 0:
        return book.delta
    delta = book.weight * book.facts[..., col.DELTA]
    return book.delta - torch.where(book.facts[..., col.SETTLES] > 0, delta, 0.0).sum(dim=1)


def closable_legs(holdings: Holdings, facts: torch.Tensor) -> torch.Tensor:
    """Whether each leg could be closed at this snapshot's quotes [N, L]; empty slots can."""
    return fillable(-holdings.quantity, facts[..., col.CAN_BUY], facts[..., col.CAN_SELL])


def liquidation_equity(holdings: Holdings, book: Book, config: EnvConfig) -> torch.Tensor:
    """Equity [N] if everything that trades were closed now under the fill rule, costs paid; the rest stays at marks."""
    closing = -holdings.quantity
    price = side_price(closing, book.facts[..., col.BUY], book.facts[..., col.SELL])
    trades = closable_legs(holdings, book.facts)
    price = torch.where(trades, price, book.facts[..., col.MARK])
    fees = torch.where(trades, contract_fee(closing, config), 0.0)
    shares = holdings.shares * share_price(-holdings.shares, book.spot, config) - share_fee(holdings.shares, config)
    return holdings.cash + (book.weight * price - fees).sum(dim=1) + shares
