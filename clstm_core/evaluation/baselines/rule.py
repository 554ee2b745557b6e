"""What every rule of thumb shares: which legs it will still hold when its order fills, which contracts it may open.

A rule decides on what the account holds and what is listed at the decision's snapshot, exactly as the network does.
Contracts are whole; a size of zero means that it cannot trade, and is counted. An expiry is known to the calendar: with
a fill lag, what settles at the next snapshot is gone when the order fills there, so that a rule rolls on expiry day.
"""

from typing import Any

import torch

from clstm_core.env import columns as col
from clstm_core.env.state import AccountState, Orders
from clstm_core.evaluation.policies import Decided, Lanes
from clstm_core.plural import counted
from clstm_core.specs import CELL_INDEX


class Rule:
    """A baseline that writes its own orders; counts how often nothing was listed for it or a contract was too large."""

    kind = "baseline"
    n_episodes = 1
    reads = False

    def __init__(self, name: str, label: str):
        self.name, self.label = name, label
        self.reset(1)

    def reset(self, n_envs: int) -> None:
        self.last = Decided.rule(n_envs)
        self._unlisted = torch.zeros(n_envs, dtype=torch.int64)
        self._too_small = torch.zeros(n_envs, dtype=torch.int64)

    def decide(self, env: Lanes, obs: torch.Tensor, mask: torch.Tensor) -> Orders:
        orders = Orders.none(env.n_envs, env.state.cash_N.device)
        self.write(env, env.state, orders)
        return orders

    def write(self, env: Lanes, state: AccountState, orders: Orders) -> None:
        """Fill in `orders` in place; does nothing here: the rule of holding cash."""

    def notes(self) -> list[str]:
        notes = []
        if unlisted := int(self._unlisted.max()):
            notes.append(f"{self.name}: no contract listed for the rule on {counted(unlisted, 'snapshot')}; it waited.")
        if too_small := int(self._too_small.max()):
            notes.append(
                f"{self.name}: equity below one whole contract on {counted(too_small, 'snapshot')}; it could not trade."
            )
        return notes

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "label": self.label, "kind": self.kind, "mode": "rule", "checkpoint": None}

    def may_open(self, free_N: torch.Tensor, rows_NP: torch.Tensor, size_N: torch.Tensor) -> torch.Tensor:
        """Which of the accounts that hold nothing open now, the others counted by what kept them."""
        listed = (rows_NP >= 0).all(dim=1)
        self._unlisted += free_N & ~listed
        self._too_small += free_N & listed & (size_N < 1)
        return free_N & listed & (size_N >= 1)


def held_at_fill(env: Lanes, state: AccountState) -> torch.Tensor:
    """Legs [N, L] that the account still holds when an order decided now is filled.

    Assumes: the session at which a contract settles is known the session before, as it is of any listed option
    """
    return (state.leg_quantity_NL != 0) & (lasting(env, state.leg_row_NL) >= 0)


def free_at_fill(env: Lanes, state: AccountState) -> torch.Tensor:
    """Accounts [N] that hold no option when an order decided now is filled."""
    return ~held_at_fill(env, state).any(dim=1)


def lasting(env: Lanes, rows: torch.Tensor) -> torch.Tensor:
    """The rows, of any shape, whose contracts are still there when an order decided now is filled; -1 elsewhere."""
    return rows if env.config.fill_lag == 0 else torch.where(env.view.next_row(rows) >= 0, rows, -1)


def cell_rows(env: Lanes, state: AccountState, *cells: str) -> torch.Tensor:
    """Rows [N, cells] of the contracts that the grid points at now; -1 where none can be opened."""
    index = torch.tensor([CELL_INDEX[name] for name in cells])
    return lasting(env, env.view.cell_rows(state.snapshot_index_N)[:, index])


def contract_facts(env: Lanes, row_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Strike and multiplier [N] of one contract each, of any where the row is -1."""
    facts = env.view.quotes(row_N[:, None])[:, 0]
    return facts[:, col.CALL_STRIKE] + facts[:, col.PUT_STRIKE], facts[:, col.MULTIPLIER]


def spot_of(env: Lanes, state: AccountState) -> torch.Tensor:
    """The spot [N] at each account's snapshot."""
    return env.view.snapshot(state.snapshot_index_N)[:, col.SPOT]


def open_units(orders: Orders, rows_NP: torch.Tensor, size_N: torch.Tensor, *unit: int) -> None:
    """Write the opening of `size` units; nothing where the size is zero.

    Args:
        unit: signed contracts per unit, one for each of the rows
    """
    legs = slice(0, len(unit))
    size = size_N.long()[:, None]
    orders.leg_row_NP[:, legs] = torch.where(size > 0, rows_NP[:, legs], -1)
    orders.leg_quantity_NP[:, legs] = size * orders.leg_quantity_NP.new_tensor(unit)
