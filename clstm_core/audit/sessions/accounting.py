"""What a step should have cost and what it held overnight, from quantities and quotes alone, for many envs at once."""

import dataclasses

import torch

from clstm_core.audit.reference.ledger import YEAR_NS
from clstm_core.audit.sessions.records import Before
from clstm_core.config import EnvConfig
from clstm_core.env.state import EXPIRY, FIRST_SHARE_SLOT, LIQUIDATION, SLOT_REASON, StepLedger
from clstm_core.market.tensors import MarketTensors
from clstm_core.options.black_scholes import price

_SLOT = torch.tensor(SLOT_REASON)
_SHARE = torch.arange(len(SLOT_REASON)) >= FIRST_SHARE_SLOT


def without_costs(config: EnvConfig) -> EnvConfig:
    """The same account trading at mid for nothing, and borrowing shares for nothing."""
    return dataclasses.replace(
        config,
        fill_rule="fraction",
        fill_fraction=0.0,
        commission_per_contract_usd=0.0,
        commission_per_share_usd=0.0,
        share_spread_bps=0.0,
        borrow_rate=0.0,
    )


def find_row(market: MarketTensors, contract: torch.Tensor, snapshot: torch.Tensor) -> torch.Tensor:
    """Row of each contract at a snapshot, -1 where it has none. Shapes broadcast."""
    contract, snapshot = torch.broadcast_tensors(contract, snapshot)
    count = len(market.strike_K)
    key = market.row_snapshot_Q * count + market.row_contract_Q
    wanted = snapshot * count + contract
    at = torch.searchsorted(key, wanted.contiguous()).clamp(max=len(key) - 1)
    return torch.where((contract >= 0) & (key[at] == wanted), at, -1)


def _fill_snapshot(last: StepLedger, config: EnvConfig) -> torch.Tensor:
    """Snapshot [N, X] at which each slot trades: liquidations tomorrow, orders as the configuration says."""
    tomorrow = (_SLOT == LIQUIDATION) | (config.fill_lag == 1)
    return torch.where(tomorrow, last.snapshot_N[:, None], last.snapshot_from_N[:, None])


def stated_costs(last: StepLedger, market: MarketTensors, config: EnvConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """What the configuration says that a step's trades cost, today and tomorrow [N]; nothing the env claims is read.

    Slippage is the crossed share of the half-spread, fees the commissions, borrow the rate on yesterday's value.
    """
    quantity = last.fill_quantity_NX.abs()
    at = _fill_snapshot(last, config)
    row = find_row(market, last.fill_contract_NX, at)
    spread = torch.where(row >= 0, (market.ask_Q - market.bid_Q)[row.clamp(min=0)], 0.0)
    multiplier = market.multiplier_K[last.fill_contract_NX.clamp(min=0)]
    option = config.fill_fraction * 0.5 * spread * multiplier + config.commission_per_contract_usd
    stock = (
        config.fill_fraction * 0.5e-4 * config.share_spread_bps * market.spot_T[at] + config.commission_per_share_usd
    )
    cost = torch.where(_SLOT == EXPIRY, 0.0, quantity * torch.where(_SHARE, stock, option))
    later = at == last.snapshot_N[:, None]
    dt = market.time_years_T[last.snapshot_N] - market.time_years_T[last.snapshot_from_N]
    traded_later = torch.where(_SHARE & later, last.fill_quantity_NX, 0.0).sum(dim=1)
    short = (traded_later - last.shares_N).clamp(min=0.0)
    borrow = short * market.spot_T[last.snapshot_from_N] * config.borrow_rate * dt
    return torch.where(later, 0.0, cost).sum(dim=1), torch.where(later, cost, 0.0).sum(dim=1) + borrow


def fair_move(
    start: Before, last: StepLedger, market: MarketTensors, vol: float, settlement_K: torch.Tensor
) -> torch.Tensor:
    """What each account's book [N] should have gained from t to t + 1 beyond interest on its value, by fair prices.

        shares (S' e^{q dt} - S e^{r dt}) + sum of weight (V' - V e^{r dt}),   V' at expiry the payoff

    The book is what an account held before the step and what the step traded at t itself; nothing the env says of
    prices, marks or settlements is read. Its expectation is zero where P = Q, but for the interest between the hour of
    a settlement and the close at which its cash arrives.

    Shapes:  settlement_K [K] price of the underlying that settles each contract, NaN beyond the data
    Units:   currency at t + 1; vol the one volatility of the world
    """
    held = torch.where(start.leg_row >= 0, start.leg_quantity, 0.0)
    at_t = (last.fill_snapshot_NX == last.snapshot_from_N[:, None]) & (last.fill_reason_NX > 0) & (_SLOT != EXPIRY)
    traded = torch.where(at_t & ~_SHARE, last.fill_quantity_NX, 0.0)
    row = torch.cat(
        [start.leg_row, find_row(market, last.fill_contract_NX, last.snapshot_from_N[:, None])], dim=1
    ).clamp(min=0)
    contract = market.row_contract_Q[row]
    weight = torch.cat([held, traded], dim=1) * market.multiplier_K[contract]
    t, then = last.snapshot_from_N[:, None], last.snapshot_N[:, None]
    rate, dividend_yield = market.rate_T[t], market.dividend_yield_T[t]
    dt = market.time_years_T[then] - market.time_years_T[t]
    strike, right = market.strike_K[contract], market.right_K[contract]

    def value(snapshot: torch.Tensor) -> torch.Tensor:
        years = (market.expiration_K[contract] - market.snapshot_T[snapshot]).double() / YEAR_NS
        spot = market.spot_T[snapshot]
        return price(spot, strike, years, torch.tensor(vol, dtype=torch.float64), rate, dividend_yield, right)

    settles = market.expiration_K[contract] <= market.snapshot_T[then]
    payoff = torch.clamp(right * (settlement_K[contract] - strike), min=0.0)
    moved = torch.where(settles, payoff, value(then)) - value(t) * torch.exp(rate * dt)
    options = torch.where(weight != 0, weight * moved, 0.0).sum(dim=1)
    shares = start.shares + torch.where(at_t & _SHARE, last.fill_quantity_NX, 0.0).sum(dim=1)
    growth = market.spot_T[then] * torch.exp(dividend_yield * dt) - market.spot_T[t] * torch.exp(rate * dt)
    return options + shares * growth.squeeze(1)
