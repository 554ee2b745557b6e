"""One session of a shadow account: the order decided at the snapshot before is carried out, then the account is shown.

It is the env's own step, and no more: fills, fees, settlement, interest and liquidation are a backtest's. Nothing here
can reach a market: an order is a row in a log.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch

from clstm_core.config import EnvConfig
from clstm_core.deployment.quotes_file import settled_by_calendar
from clstm_core.deployment.shown import after_of, fills_of
from clstm_core.env import columns as col
from clstm_core.env.actions import orders_of
from clstm_core.env.book import Book
from clstm_core.env.observation import observe_accounts
from clstm_core.env.record import write_ledger
from clstm_core.env.state import AccountState, StepLedger
from clstm_core.env.step import advance, value_account
from clstm_core.env.table_view import TableView
from clstm_core.env.trading import decide as fix_order
from clstm_core.env.trading import execute
from clstm_core.env.turn import Standing, orders_for, stand
from clstm_core.market.tensors import MarketTensors
from clstm_core.shadow.account import Account


class Shown(NamedTuple):
    """An account at the newest snapshot.

    Shapes: observation [F] float32; mask [A] bool
    ledger: of the step that led here; None where the account begins here; reward: of that step
    """

    account: Account
    observation: np.ndarray
    mask: np.ndarray
    standing: Standing
    ledger: StepLedger | None
    reward: float | None
    ruined: bool


class Simulator:
    """Fills in the simulator alone, at the newest pair of snapshots.

    Raises: MarketDataError for a market that cannot be traded there
    """

    def __init__(self, market: MarketTensors, config: EnvConfig):
        self.market = settled_by_calendar(market)
        # an account in shadow has no end: its horizon is never reached
        self.config = dataclasses.replace(config, horizon=2**31)
        self._last = market.n_snapshots - 1
        self.view = TableView.build(self.market, self.config, (0, self._last + 1), torch.float64)

    @torch.inference_mode()
    def arrive(self, account: Account, action: int | None) -> Shown:
        """Carry out the action decided at the snapshot before, and show the account at the newest one.

        Args:
            action: None where the account begins here
        """
        if action is None:
            state = account.state(self.market, self._last)
            return self._shown(state, value_account(self.view, self.config, state), None, None, ruined=False)
        state = account.state(self.market, 0)
        before = stand(self.view, self.config, state, value_account(self.view, self.config, state))
        step = advance(
            self.view, self.config, state, orders_for(self.view, before, torch.tensor([action])), before.book
        )
        ledger = write_ledger(step, self.view.contract, self.config, self.market.size_zero_Q)
        return self._shown(step.account, step.book, ledger, float(step.reward[0]), ruined=bool(step.terminated[0]))

    @torch.inference_mode()
    def intended(self, shown: Shown, action: int) -> list[dict[str, Any]]:
        """The orders that an action means at the newest quotes, with the price that backtests would assume there."""
        standing, config = shown.standing, self.config
        assert standing.offered is not None
        orders = orders_of(torch.tensor([action]), standing.offered, standing.size_NA, standing.mask_NA)
        rows = torch.where(orders.hedge_N[:, None], orders.leg_row_NP, -1)
        order = fix_order(orders, standing.book, self.view.quotes(rows), config)
        account = standing.account
        filled = execute(self.view, config, order, account.holdings, standing.book, account.premium_sold_N)
        return fills_of(self.market, account, order, filled, config)

    def greeks(self, shown: Shown) -> dict[str, float]:
        """Equity, Greeks and margin of the book (`shown.after_of`), and what of the options' delta shares offset."""
        holdings, book = shown.standing.account.holdings, shown.standing.book
        found = after_of(book, holdings)
        options = float(book.sums[0, col.DELTA])
        return found | {"hedge_ratio": -found["shares"] / options if abs(options) >= 1.0 else float("nan")}

    def _shown(
        self, state: AccountState, book: Book, ledger: StepLedger | None, reward: float | None, *, ruined: bool
    ) -> Shown:
        standing = stand(self.view, self.config, state, book)
        seen = observe_accounts(self.view, state, book)
        return Shown(
            account=Account.of(state, self.market),
            observation=seen[0].numpy(),
            mask=standing.mask_NA[0].numpy(),
            standing=standing,
            ledger=ledger,
            reward=reward,
            ruined=ruined,
        )
