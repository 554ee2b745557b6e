"""Short straddles: a call and a put of one strike sold together, and sized by their margin."""

import torch

from clstm_core.env import columns as col
from clstm_core.env.margin import margin_requirement
from clstm_core.env.state import AccountState, Orders
from clstm_core.evaluation.baselines.rule import Rule, cell_rows, free_at_fill, held_at_fill, open_units
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

    Assumes: the order's own hedge counts every leg that is held; before legs that settle ahead of the fill it is
             written out without them, so that the roll to new options and the change of hedge are one order
    """

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        super().write(env, state, orders)
        stays = held_at_fill(env, state)
        settles = ((state.leg_quantity_NL != 0) & ~stays).any(dim=1)
        orders.hedge_N[:] = ~settles
        delta = _delta(env, state.leg_row_NL, torch.where(stays, state.leg_quantity_NL, 0.0))
        delta += _delta(env, orders.leg_row_NP, orders.leg_quantity_NP)
        orders.share_quantity_N[:] = torch.where(settles, -torch.round(delta) - state.shares_N, 0.0).long()


def _delta(env: Lanes, row_NL: torch.Tensor, quantity_NL: torch.Tensor) -> torch.Tensor:
    """Delta [N] of legs, in shares."""
    facts = env.view.quotes(row_NL)
    return (quantity_NL * facts[..., col.MULTIPLIER] * facts[..., col.DELTA]).sum(dim=1)
