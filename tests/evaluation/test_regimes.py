"""Regimes and crises: sessions sorted by what was known before them, and dates held to the index's own history."""

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from clstm_core.evaluation.periods import Account
from clstm_core.evaluation.regimes import (
    CRISES,
    IMPLIED_WORDS,
    REALISED,
    REALISED_WORDS,
    Crisis,
    by_tercile,
    implied_by_date,
    in_crises,
    volatility_before,
)
from clstm_core.market.sources.sp500_modelled import index_file
from clstm_core.specs import MARKET_FEATURES


def account_of(returns, market=None) -> Account:
    returns = np.asarray(returns, dtype=float)
    market = np.zeros_like(returns) if market is None else np.asarray(market, dtype=float)
    return Account(
        dates=np.busday_offset("2020-01-01", np.arange(returns.size + 1)).astype(str).tolist(),
        equity=np.concatenate([[100.0], 100.0 * np.cumprod(1.0 + returns)]),
        spot=np.concatenate([[100.0], 100.0 * np.cumprod(1.0 + market)]),
        cash=np.full(returns.size, 0.0001),
    )


def test_terciles_hold_each_session_once_and_earn_what_it_earned():
    account = account_of([0.01, -0.02, 0.03, 0.04, -0.05, 0.06])
    calm, middle, wild = by_tercile(account, np.array([0.1, 0.3, 0.2, 0.1, 0.3, 0.2]))
    assert (calm["sessions"], middle["sessions"], wild["sessions"]) == (2, 2, 2)
    assert calm["growth"] == pytest.approx(1.01 * 1.04 - 1)
    assert middle["growth"] == pytest.approx(1.03 * 1.06 - 1)
    assert (wild["growth"], wild["worst"], wild["winning"]) == (
        pytest.approx(0.98 * 0.95 - 1),
        pytest.approx(-0.05),
        0.0,
    )
    assert calm["excess_bps"] == pytest.approx(1e4 * (np.log(1.01 * 1.04) / 2 - np.log(1.0001)))
    assert calm["low_bps"] is None  # too few sessions for an interval
    assert by_tercile(account, np.full(6, 0.2)) == []
    assert by_tercile(account, np.full(6, np.nan)) == []


def test_a_sessions_regime_was_known_before_it():
    account = account_of(np.full(40, 0.001), 0.01 * np.sin(np.arange(40.0)))
    known = {date: float(k) for k, date in enumerate(account.dates)}
    volatility, words = volatility_before(account, known)
    assert (volatility[0], volatility[-1], words) == (0.0, 39.0, IMPLIED_WORDS)
    realised, words = volatility_before(account, {})
    assert words == REALISED_WORDS
    assert np.isnan(realised[:REALISED]).all()
    before = np.log1p(account.market[:REALISED]).std(ddof=1) * np.sqrt(252)
    assert realised[REALISED] == pytest.approx(before)


def test_implied_volatility_is_read_off_the_tensors_by_date(tmp_path):
    features = torch.zeros(2, len(MARKET_FEATURES))
    features[:, MARKET_FEATURES.index("near_atm_vol")] = torch.tensor([0.2, float("nan")])
    moments = torch.tensor([1_577_998_800_000_000_000, 1_578_085_200_000_000_000])  # 2020-01-02 and -03, 21:00 UTC
    save_file({"snapshot_T": moments, "features_TF": features}, tmp_path / "market.safetensors")
    assert implied_by_date(tmp_path) == {"2020-01-02": pytest.approx(0.2)}
    assert implied_by_date(tmp_path / "nowhere") == {}


def test_a_crisis_counts_from_its_first_close_to_its_last():
    account = account_of([0.1, -0.2, 0.05, 0.3])  # 2020-01-01, -02, -03, -06, -07
    inside = Crisis("inside", "2020-01-02", "2020-01-06", "by hand")
    weekend = Crisis("ends on a Sunday", "2020-01-02", "2020-01-05", "by hand")
    outside = Crisis("outside", "2019-12-31", "2020-01-06", "by hand")
    first, second = in_crises(account, (inside, weekend, outside))
    assert (first["growth"], first["sessions"]) == (pytest.approx(0.8 * 1.05 - 1), 2)
    assert (first["max_drawdown"], first["last_date"]) == (pytest.approx(-0.2), "2020-01-06")
    assert (second["sessions"], second["last_date"]) == (1, "2020-01-03")


def test_crises_run_from_the_indexs_closing_high_to_its_closing_low():
    table = pl.read_csv(index_file())
    dates, closes = np.array(table.to_series(0).to_list()), table.to_series(1).to_numpy()
    checked = 0
    for crisis in CRISES:
        if crisis.first < dates[0] or crisis.last > dates[-1]:
            continue
        inside = (dates >= crisis.first) & (dates <= crisis.last)
        stretch, days = closes[inside], dates[inside]
        ends = days[stretch.argmax()], days[stretch.argmin()]
        assert tuple(ends[::-1] if "closing low to" in crisis.source else ends) == (crisis.first, crisis.last)
        checked += 1
    assert checked >= 10
