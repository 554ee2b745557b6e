"""One step of N accounts as a pure function of the market view, the configuration, the accounts and their orders.

Nothing in it waits for the device and no Python branch looks at data, so that it can be captured, compiled, or called
on one live pair of snapshots.
"""

from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.env.book import Book, value_book
from clstm_core.env.budget import still_counted
from clstm_core.env.rewards import excess_reward, surprising_reward
from clstm_core.env.settlement import HoldingFlows, holding_flows, settlement_cash
from clstm_core.env.state import AccountState, Holdings, Orders
from clstm_core.env.trading import Decision, Execution, Liquidation, decide, execute, liquidate
from clstm_core.env.view import MarketView
from clstm_core.market.worlds.paths import Surprise


class Interval(NamedTuple):
    """What was held from one snapshot to the next, and what that did to it.

    Shapes: facts_next [N, L, C] of the same legs at t + 1; settles [N, L] bool: settled in cash at t + 1, for
            settle_value [N, L] per share
    """

    held: Holdings
    book: Book  # at t
    facts_next: torch.Tensor
    flows: HoldingFlows
    settles: torch.Tensor
    settle_value: torch.Tensor
    arrived: Holdings  # at t + 1: flows and settlements paid, settled legs gone


class StepFacts(NamedTuple):
    """What one step computed, in the order it happened.

    Shapes: met_row [N, L] legs that the orders met; breach_row [N, L] legs before any liquidation; now, then [N, 5]
    """

    before: AccountState
    now: torch.Tensor
    then: torch.Tensor
    decision: Decision  # rows at the fill snapshot
    met_row: torch.Tensor
    met_book: Book  # the book that the orders met
    execution: Execution
    interval: Interval
    breach_row: torch.Tensor
    breach_book: Book  # before any liquidation
    liquidation: Liquidation


class Step(NamedTuple):
    """What a step made of the accounts, before any reset.

    Shapes: reward [N] in the money dtype, scaled basis points; terminated, truncated [N] bool
    """

    account: AccountState
    book: Book  # of `account`, at t + 1
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    facts: StepFacts

    @property
    def done(self) -> torch.Tensor:
        """Whether the episode ended [N]."""
        return self.terminated | self.truncated


def value_account(view: MarketView, config: EnvConfig, account: AccountState) -> Book:
    """The accounts' holdings at the marks of the snapshots they stand at."""
    spot = view.snapshot(account.snapshot_index_N)[:, col.SPOT]
    return _value(view, config, account.holdings, spot)


def advance(
    view: MarketView, config: EnvConfig, account: AccountState, orders: Orders, book: Book | None = None
) -> Step:
    """Take every account from its snapshot t to t + 1.

    [fill_lag 0: orders fill at t]; interest, dividends, borrow, settlement, new marks; [fill_lag 1: the orders decided
    at t fill at t + 1's quotes]; margin or budget breach -> liquidation; reward; ruin -> terminated, horizon or
    end of the history -> truncated (the book is left as it is).

    Args:
        book: `value_account(view, config, account)` where the caller has it already; None values it here
    Assumes: orders name rows at t; what an account cannot hold is rejected, what has no quote stays unfilled
    """
    index = account.snapshot_index_N
    now, then = view.snapshot(index), view.snapshot(index + 1)
    held = account.holdings
    book = _value(view, config, held, now[:, col.SPOT]) if book is None else book

    hedged_row = torch.where(orders.hedge_N[:, None], orders.leg_row_NP, -1)  # deltas matter to a hedge alone
    decision = decide(orders, book, view.quotes(hedged_row), config)
    if config.fill_lag == 0:
        met_row, met_book = held.row, book
        execution = execute(view, config, decision, held, book, account.premium_sold_N)
        held, book = execution.holdings, execution.book

    interval = _hold(view, config, held, book, now, then)
    held = interval.arrived
    book = value_book(held, interval.facts_next, then[:, col.SPOT], view.move_S, config)

    if config.fill_lag == 1:
        decision = decision._replace(row=view.next_row(decision.row))
        met_row, met_book = held.row, book
        execution = execute(view, config, decision, held, book, account.premium_sold_N)
        held, book = execution.holdings, execution.book

    breach_row, breach_book = held.row, book
    liquidation = liquidate(held, book, config)
    held = liquidation.holdings
    book = value_book(held, book.facts, then[:, col.SPOT], view.move_S, config)

    reward = excess_reward(
        account.equity_N, book.equity, now[:, col.INTEREST_GROWTH], account.entry_equity_N, book.margin, config
    )
    if config.expected_reward and (surprise := view.surprise(index)) is not None:
        news = Surprise(*(part.to(reward.dtype) for part in surprise))
        reward = reward - surprising_reward(interval.book, account.entry_equity_N, news, config)
    age = account.age_N + 1
    terminated = book.equity <= config.ruin_fraction * account.entry_equity_N
    truncated = ~terminated & ((age >= config.horizon) | view.ends_after(index))
    premium_sold = still_counted(account.premium_sold_N + execution.premium, age, config)
    after = account.moved(
        held, equity_N=book.equity, snapshot_index_N=index + 1, age_N=age, premium_sold_N=premium_sold
    )
    facts = StepFacts(
        before=account,
        now=now,
        then=then,
        decision=decision,
        met_row=met_row,
        met_book=met_book,
        execution=execution,
        interval=interval,
        breach_row=breach_row,
        breach_book=breach_book,
        liquidation=liquidation,
    )
    return Step(after, book, reward, terminated, truncated, facts)


def _value(view: MarketView, config: EnvConfig, holdings: Holdings, spot: torch.Tensor) -> Book:
    return value_book(holdings, view.facts(holdings.row), spot, view.move_S, config)


def _hold(
    view: MarketView, config: EnvConfig, held: Holdings, book: Book, now: torch.Tensor, then: torch.Tensor
) -> Interval:
    """Let time pass from t to t + 1: interest, dividends, borrow, settlement, and the legs' next rows."""
    flows = holding_flows(held.cash, held.shares, now, then[:, col.SPOT], config)
    facts, value = book.facts, view.settle_value(held.row)
    settles = (facts[..., col.SETTLES] > 0) & (held.quantity != 0)
    paid = settlement_cash(held.quantity, facts[..., col.MULTIPLIER], settles, value)
    cash = held.cash + flows.interest + flows.dividends - flows.borrow + paid
    if (given := view.compensation(held, facts[..., col.MARK])) is not None:
        cash = cash + given
    row = view.next_row(held.row)
    arrived = Holdings(
        cash=cash,
        shares=held.shares,
        row=row,
        quantity=torch.where(settles, 0.0, held.quantity),
        entry_price=torch.where(settles, 0.0, held.entry_price),
    )
    return Interval(held, book, view.facts(row), flows, settles, value, arrived)
