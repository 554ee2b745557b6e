"""Worlds to train in: made of training days and nothing else, each move's surprise expected to be nothing."""

import dataclasses
import math

import pytest
import torch

from clstm_core.config import MarketConfig, WorldsConfig
from clstm_core.errors import ConfigError, MarketDataError
from clstm_core.market.build.generated import generated_market
from clstm_core.market.build.simulated import simulated_market
from clstm_core.market.clock import YEAR_NS
from clstm_core.market.worlds.days import (
    LEAST_VIX,
    MOST_POWER,
    MOST_VIX,
    RECENT_DECAY,
    _goes_back,
    _power,
    _square_root,
    days_of,
    level_of,
)
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
    assert 0.4 < float(_power(returns * torch.exp(4.0 * level), level)) <= MOST_POWER
    few = _power((returns * torch.exp(0.1 * level))[:250], level[:250] - level[:250].mean())
    assert abs(float(few)) < 0.15, "what chance may have made counts for little"


def test_a_unit_of_return_grows_with_the_vix_by_one_and_the_power_as_far_as_was_seen(market):
    _, fit = days_of(market, market.split("train"), Surface())
    fit = dataclasses.replace(fit, usual=0.2, least=0.1, most=0.5, power=0.2)
    usual, twice, wild = fit.unit(torch.tensor([0.2, 0.4, 1.0], dtype=torch.float64)).tolist()
    assert usual == pytest.approx(0.2 / math.sqrt(SESSIONS_YEAR))
    assert twice == pytest.approx(2.0 * usual * 2.0**0.2)
    assert wild == pytest.approx(5.0 * usual * 2.5**0.2)


def test_a_level_goes_back_to_its_recent_average_at_once_and_to_its_mean_slowly():
    generator = torch.Generator().manual_seed(0)
    level, recent, levels, averages = -1.6, -1.6, [], []
    for noise in (0.06 * torch.randn(20_000, generator=generator, dtype=torch.float64)).tolist():
        levels.append(level)
        averages.append(recent)
        level += 0.16 * (recent - level) + 0.01 * (-1.6 - level) + noise
        recent = RECENT_DECAY * recent + (1.0 - RECENT_DECAY) * level
    level, recent = torch.tensor(levels), torch.tensor(averages)
    back, pull = _goes_back(level[:-1], recent[:-1], level.diff())
    assert float(back) == pytest.approx(0.16, abs=0.02)
    assert float(pull) == pytest.approx(0.01, abs=0.004)
    rising = torch.linspace(-2.0, -1.0, 300, dtype=torch.float64)
    assert float(_goes_back(rising, rising - 0.01 * torch.arange(300) / 300, torch.full_like(rising, 0.004))[1]) > 0


def test_a_square_root_process_is_found_again_in_its_months():
    generator, variance, seen = torch.Generator().manual_seed(0), 0.04, []
    for noise in torch.randn(60_000, generator=generator, dtype=torch.float64).tolist():
        seen.append(variance)
        variance = max(variance + 3.0 * (0.04 - variance) / 252 + 0.4 * math.sqrt(variance / 252) * noise, 1e-4)
    v = torch.tensor(seen, dtype=torch.float64)
    kappa, theta, xi = (float(x) for x in _square_root(v[:-21], v[21:] - v[:-21], 21 / 252))
    assert kappa == pytest.approx(3.0, rel=0.2)
    assert theta == pytest.approx(0.04, rel=0.1)
    assert xi == pytest.approx(0.4, rel=0.1)


def test_a_market_of_another_level_is_moved_to_where_ticks_and_strikes_make_sense(market):
    for factor, level in ((1.0, None), (0.001, 1000.0), (100.0, 10_000.0)):
        moved = dataclasses.replace(market, spot_T=market.spot_T * factor)
        paths = world_of(moved, only(ALL, "historical"), HORIZON).paths
        last = float((paths.days.log_close[-1] + paths.level_shift).exp())
        assert last == pytest.approx(level or float(moved.spot_T[moved.split("train")[1] - 1]))


def test_worlds_have_as_many_sessions_per_year_as_an_exchange(market):
    clock = world_of(market, ALL, 300).paths.listing.session_ns_C
    years = float(clock[-1] - clock[0]) / YEAR_NS
    assert (len(clock) - 1) / years == pytest.approx(252.0, abs=2.0)


def test_nothing_is_a_surprise_on_paths_that_come_again(market):
    once, again = (
        world_of(market, dataclasses.replace(only(ALL, "historical"), years=years), HORIZON).paths
        for years in (None, 10.0)
    )
    for paths, surprises in ((once, True), (again, False)):
        index = first(paths, 50)
        assert bool((paths.surprise(paths.start(index), index).gain != 0).any()) == surprises


def test_worlds_of_no_family_are_refused(market):
    with pytest.raises(ConfigError, match="no family of worlds has a share"):
        world_of(market, WorldsConfig(), HORIZON)


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


@pytest.mark.parametrize("shares", [(0.1, 0.1, 0.6), (0.1, 0.2, 0.3), (1e-320, 1e-320, 0.0), (1e9, 1e-9, 3.0)])
def test_the_last_family_that_has_a_share_ends_the_shares(market, shares):
    """Rounding leaves no room for a family without one: `history` would be the days as they came."""
    asked = dict(zip(("historical", "heston", "bates"), shares, strict=True))
    edges = world_of(market, WorldsConfig(**asked), HORIZON).paths.edges.tolist()
    assert edges[3] == edges[4] == 1.0
    assert edges == sorted(edges)


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
