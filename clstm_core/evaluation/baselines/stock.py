"""The index itself, held through its proxy."""

import torch

from clstm_core.env.fills import share_half_spread
from clstm_core.env.state import AccountState, Orders
from clstm_core.evaluation.baselines.rule import Rule, spot_of
from clstm_core.evaluation.policies import Lanes

IDLE_SHARE = 0.001
"""Share of equity that cash may reach before it is invested: a month of dividends, about, costs 0.3 bp a year idle."""


class BuyAndHold(Rule):
    """Put the whole equity into the index proxy and keep it there, dividends included: the total-return index.

    Cash beyond `IDLE_SHARE` of equity, dividends or what a gap left of the first purchase, buys whole shares; a debt
    that large, left by a gap the other way, is repaid by selling some.
    """

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        spot = spot_of(env, state)
        half, fee = share_half_spread(env.config), env.config.commission_per_share_usd
        cost = torch.where(state.cash_N > 0, spot * (1.0 + half) + fee, spot * (1.0 - half) - fee)
        idle = state.cash_N.abs() > IDLE_SHARE * state.equity_N
        orders.share_quantity_N[:] = torch.where(idle, torch.trunc(state.cash_N / cost), 0.0).long()
