"""Paths by number: any order, no neighbours, no storage; and the index and the VIX move as they were fitted to."""

import numpy as np
import pytest
import torch

from clstm_core.errors import ConfigError
from clstm_core.market.sources.sp500_modelled import load_history
from clstm_core.market.worlds.generated import simulated_world
from clstm_core.market.worlds.paths import FittedDynamics, fit_dynamics, index_of, path_of, step_of
from clstm_core.market.worlds.weekly import weekdays, weekly_listing

FITTED_UNTIL = np.datetime64("2012-12-31")


def walk(n_paths: int, n_steps: int, **settings):
    """Spots and VIX [T, N] of the first paths, and the steps between them."""
    paths = simulated_world(n_steps=n_steps, **settings).paths
    index = index_of(torch.arange(n_paths), 0)
    point = paths.start(index)
    spot, vix = [point.state.spot], [point.state.vix]
    for step in range(n_steps - 1):
        point = paths.after(point, index + step)
        spot.append(point.state.spot)
        vix.append(point.state.vix)
    return torch.stack(spot), torch.stack(vix)


def test_indices_pack_a_path_and_a_step():
    path, step = torch.tensor([0, 7, 1 << 40]), torch.tensor([0, 300, 65_000])
    index = index_of(path, step)
    assert torch.equal(path_of(index), path)
    assert torch.equal(step_of(index + 1), step + 1)


def test_a_point_follows_from_its_number_alone():
    paths = simulated_world(n_steps=40).paths
    index = index_of(torch.tensor([5, 9, 5, 123_456_789]), torch.tensor([3, 30, 17, 0]))
    together, alone = paths.at(index), [paths.at(one[None]) for one in index]
    for n, point in enumerate(alone):
        assert torch.equal(together.state.spot[n], point.state.spot[0])
        assert torch.equal(together.log_close[:, n], point.log_close[:, 0])
        assert int(together.session[n]) == int(point.session[0])
    assert len({float(spot) for spot in together.state.spot}) == 4


def test_seeds_differ_and_repeat():
    one, two, other = (walk(3, 20, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not (one == other).any(dim=0).all()


def test_the_dynamics_are_those_that_the_history_until_2012_gives():
    history = load_history().history
    known = history.date <= FITTED_UNTIL
    found, stated = fit_dynamics(history.close[known], history.vix[known]), FittedDynamics()
    for name in ("drift", "scale", "mean", "pull", "vol", "rho", "jump_chance", "jump_mean", "jump_response"):
        assert getattr(stated, name) == pytest.approx(getattr(found, name), rel=2e-3), name


def test_simulated_paths_look_like_the_years_that_they_were_fitted_to():
    """Yearly volatility, leverage, fat tails and the VIX's level; the history's values lie within each range."""
    spot, vix = walk(400, 500)
    history = load_history().history
    known = history.date <= FITTED_UNTIL
    for close, level in (
        (spot, vix),
        (torch.from_numpy(history.close[known, None]), torch.from_numpy(history.vix[known, None])),
    ):
        returns, moves = torch.log(close).diff(dim=0).flatten(), torch.log(level).diff(dim=0).flatten()
        assert 0.16 < float(returns.std()) * 252**0.5 < 0.21
        assert -0.76 < float(torch.corrcoef(torch.stack([returns, moves]))[0, 1]) < -0.64
        assert 6.0 < float(((returns - returns.mean()) ** 4).mean() / returns.var() ** 2) < 18.0
        assert 0.18 < float(level.mean()) < 0.23
        assert 0.30 < float(torch.log(level).std()) < 0.40


def test_where_p_is_q_the_index_earns_its_carry():
    spot, vix = walk(20_000, 60, fair=True)
    assert bool((vix == 0.18).all())
    listing = simulated_world(n_steps=60, fair=True).paths.listing
    years = float(listing.session_ns_C[81] - listing.session_ns_C[22]) / (365 * 86_400e9)
    growth = spot[-1] / spot[0]
    error = float(growth.std()) / len(growth) ** 0.5
    assert float(growth.mean()) == pytest.approx(np.exp(0.015 * years), abs=4 * error)


def test_the_listing_says_the_session_before_a_holiday_and_refuses_a_short_calendar():
    dates = weekdays(400)
    closed = dates[(dates.astype("datetime64[D]").astype(int) + 3) % 7 == 4][5]  # the sixth Friday is a holiday
    sessions = dates[dates != closed]
    listing = weekly_listing(sessions[:250], sessions, near_days=30.0, far_days=60.0, tolerance=0.5)
    expiries = (listing.expiration_E.numpy() // (86_400 * 10**9)).astype("datetime64[D]")
    assert closed not in expiries
    assert closed - np.timedelta64(1, "D") in expiries
    assert bool((listing.near_C >= 0).all() and (listing.far_C >= 0).all())
    with pytest.raises(ConfigError, match="the calendar ends on"):
        weekly_listing(sessions[:250], sessions[:260], near_days=30.0, far_days=60.0, tolerance=0.5)
