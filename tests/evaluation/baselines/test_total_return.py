"""Buy and hold is the total-return index: dividends are reinvested, and only idle cash and costs part them."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from clstm_core.config import EnvConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.evaluation.baselines.stock import IDLE_SHARE, BuyAndHold

YEARS, PER_YEAR = 20, 52  # weekly: dividends come slowly enough for the threshold to matter


@pytest.fixture(scope="module")
def long_market(market):
    """Twenty years of an index without options: 7% drift, 18% vol, dividends of 1.2% to 3%."""
    steps = YEARS * PER_YEAR
    draws = np.random.default_rng(5).standard_normal(steps) * 0.18 / math.sqrt(PER_YEAR)
    spot = 1000.0 * np.exp(np.cumsum(np.append(0.0, draws + (0.07 - 0.5 * 0.18**2) / PER_YEAR)))
    years = np.arange(steps + 1) / PER_YEAR
    count = len(years)
    unused = {name: tensor[:1] for name, tensor in market.tensors().items() if name.endswith("_Q")}
    return dataclasses.replace(
        market,
        **unused,
        snapshot_T=torch.from_numpy((years * 365.0 * 86400e9).astype(np.int64)),
        time_years_T=torch.from_numpy(years),
        spot_T=torch.from_numpy(spot),
        rate_T=torch.full((count,), 0.03, dtype=torch.float64),
        dividend_yield_T=torch.from_numpy(0.021 + 0.009 * np.sin(years)),
        features_TF=torch.zeros(count, market.features_TF.shape[1]),
        segment_end_T=torch.arange(count) == count - 1,
        row_offset_T1=torch.zeros(count + 1, dtype=torch.int64),
        grid_row_TG=torch.full((count, market.grid_row_TG.shape[1]), -1),
    )


def grown(market, config: EnvConfig) -> tuple[float, float]:
    """Yearly log growth of buy and hold, from its first fill on, and of the total-return index."""
    steps = market.n_snapshots - 1
    config = dataclasses.replace(config, horizon=steps)
    env = OptionsEnv(
        market, config, n_envs=1, dtype=torch.float64, window=(0, market.n_snapshots), stagger=False, fixed_start=True
    )
    policy = BuyAndHold("buy_and_hold", "")
    equity = []
    for _ in range(steps):
        env.step_orders(policy.decide(env, *env.observe()))
        equity.append(float(env.last.equity_N))
    dt = market.time_years_T.diff()
    total = torch.log(market.spot_T).diff() + market.dividend_yield_T[:-1] * dt
    first = config.fill_lag
    span = float(dt[first:].sum())
    begun = equity[0] if first else config.capital_usd
    return math.log(equity[-1] / begun) / span, float(total[first:].sum()) / span


@pytest.mark.parametrize("lag", [0, 1])
def test_without_costs_it_tracks_the_total_return_index_within_two_basis_points_a_year(long_market, lag) -> None:
    free = EnvConfig(fill_lag=lag, share_spread_bps=0.0, commission_per_share_usd=0.0)
    mine, index = grown(long_market, free)
    assert abs(mine - index) < 2e-4


def test_its_costs_are_a_few_basis_points_a_year_and_no_more(long_market) -> None:
    mine, index = grown(long_market, EnvConfig())
    assert -3e-4 < mine - index < 0.5e-4
    assert IDLE_SHARE == 0.001
