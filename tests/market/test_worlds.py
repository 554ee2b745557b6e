"""The simulated world: P = Q quotes are the model price, unrounded; the path has the stated drift; seeds repeat."""

import numpy as np
import pytest
import torch

from clstm_core.config import MarketConfig
from clstm_core.errors import MarketDataError
from clstm_core.market.build.simulated import simulated_market
from clstm_core.market.clock import YEAR_NS
from clstm_core.market.worlds import black_scholes as worlds
from clstm_core.options import black_scholes


def config(**changes) -> MarketConfig:
    return MarketConfig(**({"source": "simulated", "n_snapshots": 80, "premium": False} | changes))


def model_price(quotes, underlyings, rates, vol):
    spot = dict(zip(underlyings["snapshot"].tolist(), underlyings["close"].tolist(), strict=True))
    s = torch.tensor([spot[t] for t in quotes["snapshot"].tolist()], dtype=torch.float64)
    tte = torch.from_numpy((quotes["expiration"] - quotes["snapshot"]) / YEAR_NS)
    side = torch.tensor([1.0 if r == "C" else -1.0 for r in quotes["right"].tolist()], dtype=torch.float64)
    r, q = (torch.from_numpy(rates[name][:1]) for name in ("rate", "dividend_yield"))
    return black_scholes.price(s, torch.from_numpy(quotes["strike"]), tte, torch.full_like(r, vol), r, q, side).numpy()


def test_without_a_premium_quotes_are_symmetric_and_unrounded():
    quotes, underlyings, rates = worlds.simulated_columns(config())
    price = model_price(quotes, underlyings, rates, worlds.PRICING_VOL)
    mid = 0.5 * (quotes["bid"] + quotes["ask"])
    seen = price > worlds.LEAST_PRICE
    np.testing.assert_allclose(mid[seen], price[seen], rtol=1e-12)
    np.testing.assert_allclose((quotes["ask"] - price)[seen], (price - quotes["bid"])[seen], rtol=1e-9)
    assert (quotes["bid"] > 0).all()
    assert (quotes["ask"] > quotes["bid"]).all()
    on_a_tick = np.isclose(quotes["bid"] / worlds.TICK, np.round(quotes["bid"] / worlds.TICK), rtol=0, atol=1e-9)
    assert on_a_tick[price > 1.0].mean() < 0.01


def test_with_a_premium_quotes_are_on_ticks_around_the_model_price():
    quotes, underlyings, rates = worlds.simulated_columns(config(premium=True))
    price = model_price(quotes, underlyings, rates, worlds.PRICING_VOL)
    for side in ("bid", "ask"):
        np.testing.assert_allclose(quotes[side] / worlds.TICK, np.round(quotes[side] / worlds.TICK), atol=1e-6)
    assert (quotes["bid"] <= price + 1e-9).all()
    assert (quotes["ask"] >= price - 1e-9).all()


@pytest.mark.parametrize(("premium", "drift", "vol"), [(False, 0.0, worlds.PRICING_VOL), (True, 0.04, worlds.REAL_VOL)])
def test_the_path_moves_under_the_stated_measure(premium, drift, vol):
    shocks = []
    for seed in range(40):
        _, underlyings, _ = worlds.simulated_columns(config(premium=premium, seed=seed, n_snapshots=60))
        years = np.diff(underlyings["snapshot"]) / YEAR_NS
        growth = np.diff(np.log(underlyings["close"]))
        mean = (worlds.RATE - worlds.DIVIDEND_YIELD + drift - vol**2 / 2) * years
        shocks.append((growth - mean) / (vol * np.sqrt(years)))
    z = np.concatenate(shocks)
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert abs(z.std() - 1.0) < 4 / np.sqrt(2 * len(z))


def test_every_contract_is_quoted_at_every_snapshot_until_it_expires():
    quotes, _, _ = worlds.simulated_columns(config())
    snapshots = np.unique(quotes["snapshot"])
    index = np.searchsorted(snapshots, quotes["snapshot"])
    spans: dict[str, list[int]] = {}
    for name, t in zip(quotes["contract_id"].tolist(), index.tolist(), strict=True):
        spans.setdefault(name, []).append(t)
    ends = dict(zip(quotes["contract_id"].tolist(), quotes["expiration"].tolist(), strict=True))
    for name, at in spans.items():
        last = min(int(np.searchsorted(snapshots, ends[name])), len(snapshots)) - 1
        assert sorted(at) == list(range(min(at), last + 1)), name


def test_seeds_repeat_and_differ():
    first, second, other = (simulated_market(config(seed=s), embargo=0) for s in (3, 3, 4))
    assert all(torch.equal(v, second.tensors()[k]) for k, v in first.tensors().items() if not v.isnan().any())
    assert not torch.equal(first.spot_T, other.spot_T)


def test_a_world_of_one_snapshot_is_refused():
    with pytest.raises(MarketDataError, match="n_snapshots=1"):
        worlds.simulated_columns(config(n_snapshots=1))
