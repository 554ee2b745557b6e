"""Short straddles: a call and a put of one strike sold together, and sized by their margin."""

import torch

from clstm_core.env import columns as col
from clstm_core.env.margin import margin_requirement
from clstm_core.env.state import AccountState, Orders
from clstm_core.evaluation.baselines.rule import Rule, cell_rows, free_at_fill, open_units
from clstm_core.evaluation.policies import Lanes

MARGIN_SHARE = 0.10
"""Share of equity that the margin of a pair may take when it is sold (about 1.2 x equity in notional)."""


def pairs_by_margin(env: Lanes, state: AccountState, rows_N2: torch.Tensor) -> torch.Tensor:
    """Whole pairs [N] of short contracts whose margin takes `MARGIN_SHARE` of equity."""
    facts = env.view.facts(rows_N2)
    unit_pnl = -(facts[..., col.MULTIPLIER, None] * facts[..., col.SCENARIOS :]).sum(dim=1)
    margin = margin_requirement(unit_pnl, torch.full_like(unit_pnl[:, 0], 2.0), env.config)
    return torch.floor(MARGIN_SHARE * state.equity_N / margin)


class ShortStraddle(Rule):
    """Sell the at-the-money call and put, unhedged, to expiry; sized so that its margin is a set share of equity."""

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        rows, free = cell_rows(env, state, "near_call_atm", "near_put_atm"), free_at_fill(env, state)
        size = pairs_by_margin(env, state, torch.where(free[:, None], rows, -1))
        trade = self.may_open(free, rows, size)
        open_units(orders, rows, torch.where(trade, size, 0.0), -1, -1)


class HedgedStraddle(ShortStraddle):
    """The short straddle whose delta the index proxy takes out at every snapshot: what is left is volatility.

    Assumes: the order's own hedge leaves out what settles before it is filled, so that the roll to new options and the
             change of hedge are one order
    """

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        super().write(env, state, orders)
        orders.hedge_N[:] = True
