"""Short straddles: a call and a put of one strike sold together, sized by their margin and the risk budget."""

import torch

from clstm_core.env import columns as col
from clstm_core.env.budget import units_alone
from clstm_core.env.margin import margin_requirement
from clstm_core.env.state import AccountState, Orders
from clstm_core.evaluation.baselines.rule import Rule, cell_rows, free_at_fill, open_units, spot_of
from clstm_core.evaluation.policies import Lanes

MARGIN_SHARE = 0.10
"""Share of equity that the margin of a pair may take when it is sold."""

BUDGET_SHARE = 0.5
"""Share of the risk budget's headroom that it may take then: what is held to expiry needs room to move."""


def pairs_by_margin(env: Lanes, state: AccountState, rows_N2: torch.Tensor) -> torch.Tensor:
    """Whole pairs [N] of short contracts: their margin takes `MARGIN_SHARE` of equity, or they take `BUDGET_SHARE` of
    what the account's risk budget leaves an action, whichever is less: mostly the latter, by the loss in the crash."""
    facts = env.view.facts(rows_N2)
    unit_pnl = -(facts[..., col.MULTIPLIER, None] * facts[..., col.SCENARIOS :]).sum(dim=1)
    margin = margin_requirement(unit_pnl, torch.full_like(unit_pnl[:, 0], 2.0), env.config)
    most = units_alone(facts, facts.new_tensor([-1.0, -1.0]), spot_of(env, state), state.equity_N, env.config)
    return torch.floor(torch.minimum(MARGIN_SHARE * state.equity_N / margin, BUDGET_SHARE * most))


class ShortStraddle(Rule):
    """Sell the at-the-money call and put, unhedged, to expiry; of a size that margin and budget bear."""

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
