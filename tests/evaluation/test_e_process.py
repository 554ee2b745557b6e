"""Evidence that is looked at every day: it does not cry wolf, and it finds what is there."""

import numpy as np
import pytest

from clstm_core.evaluation.e_process import BETS, ENOUGH, bettor, harm, non_inferiority

YEAR, PAIRS = 252, 500


def normal(draw, size):
    return draw.normal(0.0, 0.01, size)


def calm_and_wild(draw, size):
    """Volatility that comes in stretches, with fat tails."""
    level = np.exp(0.7 * np.sin(np.arange(size[1]) / 20.0))[None, :]
    return 0.005 * level * draw.standard_t(4, size)


def seller(draw, size):
    """Gains a little nearly always and loses much at times; mean zero."""
    crash = draw.random(size) < 0.05
    return np.where(crash, -0.019, 0.001)


def buyer(draw, size):
    """Pays a little nearly always and gains much at times; mean zero."""
    return -seller(draw, size)


@pytest.mark.parametrize("kind", [normal, calm_and_wild, seller, buyer])
def test_a_year_of_harmless_pairs_watched_daily_alarms_in_at_most_one_of_twenty(kind):
    draw = np.random.default_rng(11)
    paths = kind(draw, (PAIRS, YEAR))
    alarms = np.mean([harm(path).reached is not None for path in paths])
    assert alarms <= 0.05
    worse = np.mean([non_inferiority(path - 0.0005, 0.0005).reached is not None for path in paths])
    assert worse <= 0.05


def test_a_planted_sharpe_of_four_is_found():
    draw = np.random.default_rng(7)
    daily = 0.01 * 4.0 / np.sqrt(YEAR)
    lost = [harm(draw.normal(-daily, 0.01, 2 * YEAR)).reached for _ in range(200)]
    found = [at for at in lost if at is not None]
    assert len(found) >= 0.95 * len(lost)
    assert np.median(found) < YEAR
    gained = [non_inferiority(draw.normal(daily, 0.01, 2 * YEAR), 0.0).reached for _ in range(200)]
    assert sum(at is not None for at in gained) >= 0.95 * len(gained)


def test_wealth_is_a_martingale_where_nothing_can_be_won():
    """Over all paths of fair coins the mean is one at every time."""
    coins = np.array(np.meshgrid(*[[-1.0, 1.0]] * 10)).reshape(10, -1).T
    wealth = np.array([bettor(path) for path in coins])
    assert np.allclose(wealth.mean(axis=0), 1.0)
    assert (wealth >= 0.0).all()


def test_one_win_pays_the_mean_bet():
    assert bettor(np.array([1.0]))[0] == pytest.approx(1.0 + BETS.mean())
    assert harm(np.array([-0.01]), bound=0.02).wealth[0] == pytest.approx(1.0 + 0.5 * BETS.mean())
    assert non_inferiority(np.array([-0.01]), 0.03, bound=0.02).wealth[0] == pytest.approx(1.0 + BETS.mean())


def test_it_stays_given_up_and_counts_what_it_truncates():
    found = harm(np.full(40, -0.03), bound=0.02)
    assert found.truncated == 40
    assert found.reached == int(np.flatnonzero(found.wealth >= ENOUGH)[0])
    assert harm(np.full(40, 0.03), bound=0.02).reached is None


def test_a_margin_that_is_negative_and_numbers_that_are_not_finite_are_sentences():
    with pytest.raises(ValueError, match="margin=-1"):
        non_inferiority(np.zeros(3), -1.0)
    with pytest.raises(ValueError, match="bound=0"):
        harm(np.zeros(3), bound=0.0)
    with pytest.raises(ValueError, match="not finite"):
        harm(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match=r"expected numbers in \[-1, 1\]"):
        bettor(np.array([2.0]))
    assert harm(np.zeros(30)).reached is None
