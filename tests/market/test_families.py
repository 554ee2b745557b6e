"""Worlds to train in: made of training days and nothing else, each move's surprise expected to be nothing."""

import dataclasses
import math

import pytest
import torch

from clstm_core.config import MarketConfig, WorldsConfig
from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.market.build.generated import generated_market
from clstm_core.market.build.simulated import simulated_market
from clstm_core.market.worlds.days import LEAST_VIX, MOST_POWER, MOST_VIX, _power, days_of, level_of
from clstm_core.market.worlds.families import BLOCK, FAMILIES, FamilyPaths
from clstm_core.market.worlds.generated import simulated_world
from clstm_core.market.worlds.paths import SESSIONS_YEAR
from clstm_core.market.worlds.surface import Surface
from clstm_core.market.worlds.training import only, world_of

HORIZON, N = 30, 4000
ALL = WorldsConfig(historical=4.0, blocks=2.0, heston=2.0, bates=1.0, history=1.0)


@pytest.fixture(scope="module")
def market():
    """A history whose index and VIX move together."""
    return generated_market(simulated_world(n_steps=500, n_paths=1, seed=3))


def paths_of(market, worlds=ALL, **changes) -> FamilyPaths:
    paths = world_of(market, worlds, HORIZON).paths
    return dataclasses.replace(paths, **changes)


def first(paths, n=N) -> torch.Tensor:
    return paths.begin(torch.arange(n), torch.zeros(n, dtype=torch.int64), HORIZON, fixed=False)


def walked(paths, index, steps=HORIZON):
    point, points = paths.start(index), []
    for k in range(steps):
        points.append(point)
        point = paths.after(point, index + k)
    return [*points, point]


def test_the_level_is_what_the_market_was_priced_by(market):
    level, world = level_of(market, Surface()), simulated_world(n_steps=500, n_paths=1, seed=3)
    point = world.paths.start(torch.zeros(1, dtype=torch.int64))
    vix = [float(point.state.vix)]
    for k in range(499):
        point = world.paths.after(point, torch.tensor([k]))
        vix.append(float(point.state.vix))
    # the strike nearest the money is not at the money
    assert float((level - torch.tensor(vix, dtype=torch.float64)).abs().mean()) < 0.004


def test_moves_are_standardised_and_make_the_history_again(market):
    window = market.split("train")
    days, fit = days_of(market, window, Surface())
    assert abs(float(days.gain.mean())) < 1e-12
    assert float(days.gain.square().mean()) == pytest.approx(1.0, abs=1e-12)
    assert float(days.vix_gain.mean()) == pytest.approx(1.0, abs=1e-12)
    assert 0.5 < fit.scale < 1.1
    assert fit.rho < -0.4

    paths = paths_of(market, only(ALL, "history"))
    index = first(paths, 64)
    day = paths.traits(index >> 16).day
    points = walked(paths, index)
    for k, point in enumerate(points):
        torch.testing.assert_close(point.log_close[-1], days.log_close[day + k], rtol=0, atol=1e-9)
        torch.testing.assert_close(point.state.vix, days.vix[day + k], rtol=0, atol=1e-9)


def test_the_index_realises_more_of_its_vix_in_wild_markets_where_history_does():
    """Options would be cheap in calm worlds otherwise, and buying them there would pay."""
    generator = torch.Generator().manual_seed(1)
    level = 0.4 * torch.randn(6000, generator=generator, dtype=torch.float64)
    returns = torch.randn(6000, generator=generator, dtype=torch.float64)
    for power in (-0.2, 0.0, 0.3):
        assert float(_power(returns * torch.exp(power * level), level)) == pytest.approx(power, abs=0.05)
    assert float(_power(returns, torch.zeros_like(level))) == 0.0
    assert float(_power(returns * torch.exp(4.0 * level), level)) == MOST_POWER


def test_moves_are_as_wide_in_calm_days_as_in_wild_ones_once_standardised(market):
    days, fit = days_of(market, market.split("train"), Surface())
    order = days.vix[:-1].argsort()
    calm, _, wild = (float(days.gain[part].square().mean().sqrt()) for part in order.tensor_split(3))
    assert calm / wild == pytest.approx(1.0, abs=0.15)
    vix = torch.tensor([fit.usual, 2.0 * fit.usual], dtype=torch.float64)
    one, two = fit.unit(vix).tolist()
    assert one == pytest.approx(fit.usual / math.sqrt(SESSIONS_YEAR))
    assert two == pytest.approx(2.0 * one * 2.0**fit.power)


def test_later_dates_change_nothing(market):
    """Validation and test days are not looked at."""
    _, stop = market.split("train")
    later = torch.arange(market.n_snapshots) >= stop
    changed = dataclasses.replace(
        market,
        spot_T=torch.where(later, 1e6, market.spot_T),
        rate_T=torch.where(later, 9.0, market.rate_T),
        features_TF=torch.where(later[:, None], torch.nan, market.features_TF),
    )
    one, two = (walked(paths_of(m), first(paths_of(m), 200))[-1] for m in (market, changed))
    assert torch.equal(one.state.spot, two.state.spot)
    assert torch.equal(one.state.vix, two.state.vix)


def test_families_have_their_shares_and_paths_their_number(market):
    paths = paths_of(market)
    family = paths.traits(first(paths) >> 16).family
    share = torch.bincount(family, minlength=len(FAMILIES)) / N
    torch.testing.assert_close(share, torch.tensor([0.4, 0.2, 0.2, 0.1, 0.1]), rtol=0, atol=0.03)
    few = paths_of(market, n_paths=7)
    assert len(first(few).unique()) == 7
    years = world_of(market, dataclasses.replace(ALL, years=10.0), HORIZON).paths
    assert years.n_paths == 84
    assert len(first(paths).unique()) > 0.99 * N


def test_paths_differ_in_premium_drift_spread_and_smile_unless_told_not_to(market):
    paths = paths_of(market, only(ALL, "historical"))
    alike = dataclasses.replace(paths, varied=0.0)
    for one, vary in ((paths, True), (alike, False)):
        traits, state = one.traits(first(one) >> 16), one.start(first(one)).state
        for value in (traits.drift, state.smile_scale):
            assert (len(value.unique()) > 1) == vary
        assert float(state.smile_scale.min()) >= 0.8
        assert float(state.smile_scale.max()) <= 1.25
    history = dataclasses.replace(paths, edges=paths_of(market, only(ALL, "history")).edges)
    assert len(history.traits(first(history) >> 16).drift.unique()) == 1


def test_blocks_are_runs_of_days(market):
    paths = paths_of(market, only(WorldsConfig(), "blocks"), varied=0.0)
    index = first(paths, 300)
    key, traits = paths._key(index >> 16), paths.traits(index >> 16)
    days = torch.stack([paths._day(key, torch.full_like(index, k), traits) for k in range(HORIZON)])
    follows = days[1:] == (days[:-1] + 1) % len(paths.days.gain)
    assert float(follows.double().mean()) == pytest.approx(1 - 1 / BLOCK, abs=0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_surprises_expect_nothing_and_explain_the_move(market, family):
    paths = paths_of(market, only(ALL, family))
    index = first(paths)
    point = paths.start(index)
    surprise, after = paths.surprise(point, index), paths.after(point, index)
    if family in ("blocks", "history"):
        assert all(float(part.abs().max()) == 0.0 for part in surprise)
        return
    for part in surprise:
        assert abs(float(part.mean())) < 4.0 * float(part.std()) / math.sqrt(N)
    gain = torch.exp(after.log_close[-1] - point.log_close[-1]) - 1.0
    traits, state = paths.traits(index >> 16), point.state
    expected = (state.rate - state.dividend_yield) / 252.0 + traits.drift
    torch.testing.assert_close(gain - surprise.gain, expected, rtol=0, atol=1e-12)
    free = (after.state.vix > LEAST_VIX) & (after.state.vix < MOST_VIX)
    left = (after.state.vix - surprise.vix)[free]
    assert float(left.std()) < 1.05 * float(state.vix.std()) + 0.2 * float(surprise.vix.std())


def test_worlds_move_as_their_days_did(market):
    """Of many paths: returns as volatile as days say, the VIX falling when the index rises, and back to its mean."""
    for family in ("historical", "heston", "bates"):
        paths = paths_of(market, only(ALL, family), varied=0.0)
        points = walked(paths, first(paths, 1000))
        close = torch.stack([p.log_close[-1] for p in points])
        vix = torch.stack([p.state.vix for p in points])
        z = close.diff(dim=0) / (vix[:-1] / math.sqrt(252.0))
        assert float(z.std()) == pytest.approx(paths.fit.scale, rel=0.05), family
        both = torch.stack([z.reshape(-1), torch.log(vix).diff(dim=0).reshape(-1)])
        assert float(torch.corrcoef(both)[0, 1]) == pytest.approx(paths.fit.rho, abs=0.15), family
        assert bool(close.isfinite().all())


def test_a_flat_market_makes_flat_worlds():
    flat = simulated_market(MarketConfig(source="simulated", premium=False, n_snapshots=420), embargo=0)
    point = walked(paths_of(flat), first(paths_of(flat), 100))[-1]
    assert bool(point.state.spot.isfinite().all() & point.state.vix.isfinite().all())


def test_mistakes_are_named(market):
    with pytest.raises(MarketDataError, match="at least 250"):
        world_of(dataclasses.replace(market, info=market.info | {"splits": {"train": [0, 100]}}), ALL, HORIZON)
    with pytest.raises(ConfigError, match="shorter horizon"):
        world_of(market, ALL, 1000)
    with pytest.raises(ConfigError, match="worlds: heston=-1"):
        WorldsConfig(heston=-1.0)
    with pytest.raises(ConfigError, match="years"):
        WorldsConfig(historical=1.0, years=0.0)
