"""A market small enough to check by hand: six snapshots, six contracts that settle at snapshot 4."""

import dataclasses

import pytest
import torch

from clstm_core.config import WITHOUT_BUDGET, EnvConfig, MarketConfig
from clstm_core.market.build.simulated import simulated_market
from clstm_core.market.tensors import MarketTensors, encode_contract_ids
from clstm_core.options.black_scholes import greeks
from clstm_core.specs import CELL_INDEX, CELLS, MARKET_FEATURES

STRIKES = (100.0, 105.0, 110.0, 100.0, 95.0, 90.0)
RIGHTS = (1, 1, 1, -1, -1, -1)
SPOTS = (100.0, 102.0, 99.0, 101.0, 103.0, 103.0)
SETTLE, N_LISTED, HALF_SPREAD, VOL, RATE, YIELD, DT = 4, 4, 0.10, 0.3, 0.05, 0.02, 0.02
CELL_CONTRACT = {
    "near_call_atm": 0,
    "near_call_30": 1,
    "near_call_20": 1,
    "near_call_10": 2,
    "near_call_05": 2,
    "near_put_atm": 3,
    "near_put_30": 4,
    "near_put_20": 4,
    "near_put_10": 5,
    "near_put_05": 5,
}


def _tiny_market() -> MarketTensors:
    n_contracts, n_snapshots = len(STRIKES), len(SPOTS)
    snapshot = torch.arange(N_LISTED).repeat_interleave(n_contracts)
    contract = torch.arange(n_contracts).repeat(N_LISTED)
    strike, right = torch.tensor(STRIKES, dtype=torch.float64), torch.tensor(RIGHTS)
    spot = torch.tensor(SPOTS, dtype=torch.float64)
    tte = (SETTLE - snapshot).double() * DT
    flat = torch.ones_like(tte)
    g = greeks(spot[snapshot], strike[contract], tte, VOL * flat, RATE * flat, YIELD * flat, right[contract].double())
    mid = (g.price * 100).round().clamp(min=11) / 100
    rows = torch.arange(n_contracts * N_LISTED)
    grid = torch.full((n_snapshots, len(CELLS)), -1, dtype=torch.int64)
    for name, k in CELL_CONTRACT.items():
        grid[:N_LISTED, CELL_INDEX[name]] = torch.arange(N_LISTED) * n_contracts + k
    offsets = torch.cat([torch.arange(N_LISTED + 1) * n_contracts, torch.full((n_snapshots - N_LISTED,), len(rows))])
    everywhere = torch.ones(len(rows), dtype=torch.bool)
    settle_spot = spot[SETTLE]
    features = torch.arange(n_snapshots * len(MARKET_FEATURES), dtype=torch.float32)
    return MarketTensors(
        snapshot_T=torch.arange(n_snapshots) * 86_400_000_000_000,
        time_years_T=torch.arange(n_snapshots, dtype=torch.float64) * DT,
        spot_T=spot,
        rate_T=torch.full((n_snapshots,), RATE, dtype=torch.float64),
        dividend_yield_T=torch.full((n_snapshots,), YIELD, dtype=torch.float64),
        features_TF=features.view(n_snapshots, -1),
        segment_end_T=torch.arange(n_snapshots) == n_snapshots - 1,
        row_offset_T1=offsets,
        grid_row_TG=grid,
        row_snapshot_Q=snapshot,
        row_contract_Q=contract,
        next_row_Q=torch.where(snapshot < N_LISTED - 1, rows + n_contracts, -1),
        bid_Q=mid - HALF_SPREAD,
        ask_Q=mid + HALF_SPREAD,
        mark_Q=mid,
        can_buy_Q=everywhere.clone(),
        can_sell_Q=everywhere.clone(),
        stale_Q=~everywhere,
        implied_vol_Q=VOL * flat,
        tte_years_Q=tte,
        delta_Q=g.delta,
        gamma_Q=g.gamma,
        vega_Q=g.vega,
        theta_Q=g.theta,
        rho_Q=g.rho,
        contract_id_KB=encode_contract_ids([f"T{k}" for k in range(n_contracts)]),
        strike_K=strike,
        right_K=right,
        multiplier_K=torch.full((n_contracts,), 100.0, dtype=torch.float64),
        expiration_K=torch.full((n_contracts,), SETTLE * 86_400_000_000_000),
        settle_index_K=torch.full((n_contracts,), SETTLE),
        settle_value_K=(right * (settle_spot - strike)).clamp(min=0.0),
        info={"source": "tiny", "splits": {"train": [0, n_snapshots]}},
    )


@pytest.fixture
def tiny_market() -> MarketTensors:
    return _tiny_market()


@pytest.fixture
def unquote():
    """Make a row stale: no bid, no ask, its mark kept."""

    def change(market: MarketTensors, row: int) -> MarketTensors:
        tensors = {name: tensor.clone() for name, tensor in market.tensors().items()}
        for name in ("bid_Q", "ask_Q", "can_buy_Q", "can_sell_Q"):
            tensors[name][row] = 0
        tensors["stale_Q"][row] = True
        return MarketTensors(**tensors, info=market.info)

    return change


@pytest.fixture(scope="session")
def world() -> MarketTensors:
    """A simulated world of 160 snapshots, every one of them in the train window."""
    market = simulated_market(MarketConfig(source="simulated", n_snapshots=220), embargo=10)
    return dataclasses.replace(market, info={**market.info, "splits": {"train": [0, 160]}})


@pytest.fixture
def tiny_config() -> EnvConfig:
    return EnvConfig(capital_usd=1_000_000.0, horizon=5, fill_lag=0, **WITHOUT_BUDGET)
