"""The same orders, filled at another date: what a policy's profit owes to the session in which it trades.

The orders are those of the clean walk, noted with the quantities that were decided, hedges in shares. An account then
gets each of them so many sessions earlier or later and decides nothing itself: a policy that knows its own delay would
act otherwise, and one that decides with tomorrow's account cannot exist. Fills, fees, margin and budget are the env's.
"""

from dataclasses import dataclass

import torch

from clstm_core.env.state import Orders
from clstm_core.env.step import value_account
from clstm_core.env.trading import decide
from clstm_core.evaluation.baselines.rule import Rule
from clstm_core.evaluation.conventions.sins import Sinner
from clstm_core.evaluation.policies import Lanes, Policy
from clstm_core.market.tensors import MarketTensors

LAGS = (-2, -1, 0, 1, 2, 3, 4, 5)
"""Sessions from decision to fill. Below 0 an order fills before it was decided, which nobody can do."""


@dataclass(frozen=True, slots=True)
class Handed:
    """How an order comes to be filled `lag` sessions after its decision: by an env of fill lag `env_lag`, to which it
    is handed `moved` sessions after the decision."""

    lag: int

    @property
    def env_lag(self) -> int:
        """0 or 1, as `EnvConfig` knows them."""
        return 1 if self.lag > 0 else 0

    @property
    def moved(self) -> int:
        """Sessions between decision and handing over; below 0 it is handed over before."""
        return self.lag - self.env_lag


class Noted(Sinner):
    """A policy as it is, whose orders are written down by snapshot; one account."""

    def __init__(self, policy: Policy):
        super().__init__(policy, policy.name)
        self.label = policy.label
        self.orders: dict[int, Orders] = {}

    def reset(self, n_envs: int) -> None:
        super().reset(n_envs)
        self.orders = {}

    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        orders, state = super().decide(env, obs, mask), env.state
        if int(state.episode_N[0]) == 0:  # what is ordered after ruin is another account's
            self.orders[int(state.snapshot_index_N[0])] = _in_shares(env, orders)
        return orders


class Delayed(Rule):
    """Gives the orders that another account noted, each `handed.moved` sessions later, and none of its own.

    `missed` counts orders of which a leg is listed no more, or not yet, when they are handed over.
    """

    kind = "convention"

    def __init__(self, noted: Noted, handed: Handed, market: MarketTensors):
        self._noted, self._handed = noted, handed
        self._to_Q = market.next_row_Q if handed.moved >= 0 else _previous_rows(market)
        self.missed = 0
        super().__init__(f"delay_{handed.lag:+d}", f"The same orders, filled {handed.lag:+d} sessions from decision")

    def reset(self, n_envs: int) -> None:
        super().reset(n_envs)
        self.missed = 0

    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        state = env.state
        decided = int(state.snapshot_index_N[0]) - self._handed.moved
        orders = self._noted.orders.get(decided) if int(state.episode_N[0]) == 0 else None
        if orders is None:
            return Orders.none(env.n_envs)
        row = orders.leg_row_NP
        for _ in range(abs(self._handed.moved)):
            row = torch.where(row >= 0, self._to_Q[row.clamp(min=0)], -1)
        if bool(((orders.leg_row_NP >= 0) & (row < 0)).any()):
            self.missed += 1
            return Orders.none(env.n_envs)
        return orders._replace(leg_row_NP=row)


def _in_shares(env: Lanes, orders: Orders) -> Orders:
    """Orders whose hedge is the whole shares that it means at their decision."""
    if not bool(orders.hedge_N.any()):
        return orders
    book = value_account(env.view, env.config, env.state)
    hedge = decide(orders, book, env.view.quotes(orders.leg_row_NP), env.config).hedge_shares
    return orders._replace(share_quantity_N=orders.share_quantity_N + hedge, hedge_N=torch.zeros_like(orders.hedge_N))


def _previous_rows(market: MarketTensors) -> torch.Tensor:
    """The same contract's row at the snapshot before, -1 where there is none [Q]."""
    found = torch.full_like(market.next_row_Q, -1)
    goes_on = (market.next_row_Q >= 0).nonzero().squeeze(1)
    found[market.next_row_Q[goes_on]] = goes_on
    return found
