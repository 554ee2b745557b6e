"""An account between two sessions, by the names of what it holds: it outlives any numbering of rows."""

from dataclasses import dataclass
from typing import Any

import torch

from clstm_core.env.state import AccountState
from clstm_core.errors import MarketDataError
from clstm_core.market.tensors import MarketTensors
from clstm_core.specs import MAX_LEGS


@dataclass(frozen=True, kw_only=True, slots=True)
class Leg:
    """One option leg. Units: signed contracts; entry price per share. `slot` is its place in the env's account."""

    slot: int
    contract_id: str
    quantity: float
    entry_price: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What one account owns and remembers after a session, in float64.

    Units: currency of the account; shares in numbers; age in sessions since it began; premium sold counts against the
           next order, as the risk budget counts it
    """

    cash: float
    shares: float
    legs: tuple[Leg, ...]
    entry_equity: float
    equity: float
    age: int
    premium_sold: float

    @classmethod
    def fresh(cls, capital: float) -> "Account":
        """An account that begins in cash."""
        return cls(cash=capital, shares=0.0, legs=(), entry_equity=capital, equity=capital, age=0, premium_sold=0.0)

    @classmethod
    def of(cls, state: AccountState, market: MarketTensors) -> "Account":
        """The only account of a state of the env."""
        slots = [slot for slot in range(MAX_LEGS) if float(state.leg_quantity_NL[0, slot]) != 0.0]
        rows = {slot: int(state.leg_row_NL[0, slot]) for slot in slots}
        return cls(
            cash=float(state.cash_N[0]),
            shares=float(state.shares_N[0]),
            legs=tuple(
                Leg(
                    slot=slot,
                    contract_id=market.contract_id(int(market.row_contract_Q[rows[slot]])),
                    quantity=float(state.leg_quantity_NL[0, slot]),
                    entry_price=float(state.leg_entry_price_NL[0, slot]),
                )
                for slot in slots
            ),
            entry_equity=float(state.entry_equity_N[0]),
            equity=float(state.equity_N[0]),
            age=int(state.age_N[0]),
            premium_sold=float(state.premium_sold_N[0]),
        )

    @classmethod
    def kept(cls, entry: dict[str, Any]) -> "Account":
        """The account that an entry of the log left."""
        return cls(
            cash=entry["cash_usd"],
            shares=entry["shares"],
            legs=tuple(
                Leg(**{name: leg[name] for name in ("slot", "contract_id", "quantity", "entry_price")})
                for leg in entry["legs"]
            ),
            entry_equity=entry["entry_equity_usd"],
            equity=entry["equity_usd"],
            age=entry["age"],
            premium_sold=entry["premium_sold_usd"],
        )

    def state(self, market: MarketTensors, index: int) -> AccountState:
        """The same account as the env holds it, standing at snapshot `index` of a market.

        Raises: MarketDataError for a contract that the market has no row of there
        """
        one = torch.ones(1, dtype=torch.float64)
        state = AccountState.fresh(
            self.cash,
            snapshot_index_N=torch.tensor([index]),
            seed_N=torch.zeros(1, dtype=torch.int64),
            episode_N=torch.zeros(1, dtype=torch.int64),
            age_N=torch.tensor([self.age]),
            dtype=torch.float64,
        )
        row, quantity, entry = state.leg_row_NL.clone(), state.leg_quantity_NL.clone(), state.leg_entry_price_NL.clone()
        known = rows_at(market, index) if self.legs else {}
        for leg in self.legs:
            if leg.contract_id not in known:
                raise MarketDataError(
                    f"held contract {leg.contract_id} has no quote and no last volatility at this snapshot: found "
                    f"{len(known)} contracts, expected it among them. Give the source its past sessions again."
                )
            row[0, leg.slot] = known[leg.contract_id]
            quantity[0, leg.slot], entry[0, leg.slot] = leg.quantity, leg.entry_price
        return state._replace(
            shares_N=one * self.shares,
            leg_row_NL=row,
            leg_quantity_NL=quantity,
            leg_entry_price_NL=entry,
            entry_equity_N=one * self.entry_equity,
            equity_N=one * self.equity,
            premium_sold_N=one * self.premium_sold,
        )


def rows_at(market: MarketTensors, index: int) -> dict[str, int]:
    """Rows of a snapshot by their contract's name."""
    first, stop = market.row_offset_T1[index : index + 2].tolist()
    contracts = market.row_contract_Q[first:stop].tolist()
    return {market.contract_id(contract): first + place for place, contract in enumerate(contracts)}
