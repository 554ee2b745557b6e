"""The iron condor on bills, as the exchange's index writes it."""

import torch

from clstm_core.env import columns as col
from clstm_core.env.state import AccountState, Orders
from clstm_core.evaluation.baselines.rule import Rule, free_at_fill, lasting, open_units
from clstm_core.evaluation.policies import Lanes
from clstm_core.specs import TEMPLATES

BILLS_PER_LOSS = 10.0
"""Cash in bills per unit of the condor's maximum loss."""

_INDEX, _TEMPLATE = next((i, item) for i, item in enumerate(TEMPLATES) if item.name == "near_iron_condor")


class Condor(Rule):
    """Sell the call and the put of 0.20 delta, buy those of 0.05, hold them to expiry, open the next that day.

    Source: the CBOE S&P 500 Iron Condor index (CNDR): bills of ten times the maximum loss at expiry; here in whole
            contracts, the entry's price and commissions being part of the loss, on the contracts nearest the near tenor
    """

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        offered = env.view.offered(state.snapshot_index_N)
        unit = offered.unit_NAC[:, _INDEX]
        rows = lasting(env, offered.row_NAP[:, _INDEX])
        rows = torch.where(unit[:, None, col.AVAILABLE] > 0, rows, -1)
        size = torch.floor(state.equity_N / (BILLS_PER_LOSS * unit[:, col.UNIT_RISK]))
        trade = self.may_open(free_at_fill(env, state), rows, size)
        open_units(orders, rows, torch.where(trade, size, 0.0), *(quantity for _, quantity in _TEMPLATE.legs))
