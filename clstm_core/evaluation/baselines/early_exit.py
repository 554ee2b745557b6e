"""Short strangles that are not held to expiry: the two exits that option sellers swear by."""

import torch

from clstm_core.env import columns as col
from clstm_core.env.state import AccountState, Orders
from clstm_core.evaluation.baselines.rule import Rule, cell_rows, held_at_fill, open_units
from clstm_core.evaluation.baselines.straddles import pairs_by_margin
from clstm_core.evaluation.policies import Lanes

DAYS_PER_YEAR = 365.0


class EarlyExit(Rule):
    """Sell the call and the put of 0.20 delta; buy both back, and sell the next in the same order, at a set point.

    The point is reached when buying them back costs no more than `left` of the premium received, or when they have
    `days` calendar days or fewer to go. What cannot be bought back yet, for want of a quote, is tried again; what
    reaches expiry settles, and the next are sold that day.

    Args:
        left: share of the premium, 0 for none; days: calendar days, 0 for none
        tenor: in which it is sold, near or far
    """

    def __init__(self, name: str, label: str, *, left: float = 0.0, days: float = 0.0, tenor: str = "near"):
        self.left, self.days = left, days
        self.cells = (f"{tenor}_call_20", f"{tenor}_put_20")
        super().__init__(name, label)

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        held = held_at_fill(env, state)
        closes = held.any(dim=1) & self._is_due(env, state, held)
        rows = cell_rows(env, state, *self.cells)
        free = closes | ~held.any(dim=1)
        rows = torch.where(free[:, None], rows, -1)
        lasts = env.view.quotes(rows)[..., col.TTE] * DAYS_PER_YEAR > self.days
        rows = torch.where(lasts & (rows[:, :1] != rows[:, 1:]), rows, -1)
        size = pairs_by_margin(env, state, rows)
        trade = self.may_open(free, rows, size)
        orders.close_all_N[:] = closes
        open_units(orders, rows, torch.where(trade, size, 0.0), -1, -1)

    def _is_due(self, env: Lanes, state: AccountState, held_NL: torch.Tensor) -> torch.Tensor:
        """Whether an account that holds the legs `held` has reached the point [N]."""
        facts = env.view.quotes(state.leg_row_NL)
        weight = torch.where(held_NL, -state.leg_quantity_NL * facts[..., col.MULTIPLIER], 0.0)
        received = (weight * state.leg_entry_price_NL).sum(dim=1)
        cheap = (weight * facts[..., col.BUY]).sum(dim=1) <= self.left * received
        quoted = ((facts[..., col.CAN_BUY] > 0) | ~held_NL).all(dim=1)
        late = ((facts[..., col.TTE] * DAYS_PER_YEAR <= self.days) & held_NL).any(dim=1)
        return quoted & (cheap | late)
