"""What a step should have cost and what it held overnight, from quantities and quotes alone, for many envs at once."""

import dataclasses

import torch

from clstm_core.audit.sessions.records import Before
from clstm_core.config import EnvConfig
from clstm_core.env.state import EXPIRY, FIRST_SHARE_SLOT, LIQUIDATION, SLOT_REASON, StepLedger
from clstm_core.market.tensors import MarketTensors

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


def overnight_greeks(start: Before, last: StepLedger, market: MarketTensors) -> tuple[torch.Tensor, torch.Tensor]:
    """Delta in shares and gamma [N] of the book that each account carried from snapshot t to t + 1.

    What it held before the step, and what the step traded at t itself.
    """
    held = torch.where(start.leg_row >= 0, start.leg_quantity, 0.0)
    at_t = (last.fill_snapshot_NX == last.snapshot_from_N[:, None]) & (last.fill_reason_NX > 0) & (_SLOT != EXPIRY)
    traded = torch.where(at_t & ~_SHARE, last.fill_quantity_NX, 0.0)
    row = torch.cat(
        [start.leg_row, find_row(market, last.fill_contract_NX, last.snapshot_from_N[:, None])], dim=1
    ).clamp(min=0)
    weight = torch.cat([held, traded], dim=1) * market.multiplier_K[market.row_contract_Q[row]]
    shares = start.shares + torch.where(at_t & _SHARE, last.fill_quantity_NX, 0.0).sum(dim=1)
    return (weight * market.delta_Q[row]).sum(dim=1) + shares, (weight * market.gamma_Q[row]).sum(dim=1)
