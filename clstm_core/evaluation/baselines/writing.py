"""Option writing as the exchange's indices do it: puts that cash secures, calls that the index proxy covers."""

import torch

from clstm_core.env.fills import share_half_spread
from clstm_core.env.state import AccountState, Orders
from clstm_core.evaluation.baselines.rule import Rule, cell_rows, contract_facts, free_at_fill, open_units, spot_of
from clstm_core.evaluation.policies import Lanes


class PutWrite(Rule):
    """Sell at-the-money puts that the account's equity secures in full, hold them to expiry, sell the next that day.

    Source: the CBOE S&P 500 PutWrite index (PUT): strike x multiplier x contracts <= equity; here in whole contracts,
            at this account's fills and costs, on the contract nearest the near tenor instead of the third Friday's
    """

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        rows = cell_rows(env, state, "near_put_atm")
        free = free_at_fill(env, state)
        strike, multiplier = contract_facts(env, torch.where(free, rows[:, 0], -1))
        size = torch.floor(state.equity_N / (strike * multiplier))
        trade = self.may_open(free, rows, size)
        open_units(orders, rows, torch.where(trade, size, 0.0), -1)


class BuyWrite(Rule):
    """Hold the index proxy and sell a call on all of it, to expiry, the next one that day.

    Source: the CBOE S&P 500 BuyWrite index (BXM), at the money; with a call of 0.30 delta, its 30-Delta BuyWrite index
            (BXMD). Here in whole contracts, so that shares are the largest multiple of the multiplier that equity,
            dividends included, pays for, the rest in cash, evened out whenever calls are sold
    """

    def __init__(self, name: str, label: str, cell: str = "near_call_atm"):
        self.cell = cell
        super().__init__(name, label)

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        rows = cell_rows(env, state, self.cell)
        free = free_at_fill(env, state)
        _, multiplier = contract_facts(env, torch.where(free, rows[:, 0], -1))
        spot = spot_of(env, state) * (1.0 + share_half_spread(env.config))
        size = torch.floor(state.equity_N / (spot * multiplier))
        trade = self.may_open(free, rows, size)
        open_units(orders, rows, torch.where(trade, size, 0.0), -1)
        orders.share_quantity_N[:] = torch.where(trade, size * multiplier - state.shares_N, 0.0).long()
