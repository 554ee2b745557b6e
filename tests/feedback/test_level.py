"""What is no better is seldom promoted, however often one looks; what is much better is, and soon."""

import sys
from pathlib import Path

import numpy as np
import pytest

from clstm_core.artifacts.places import Places
from clstm_core.evaluation.e_process import ENOUGH, harm
from clstm_core.evaluation.statistics import block_length, bootstrap_counts
from clstm_core.feedback import rules
from clstm_core.feedback.promote import decide
from clstm_core.feedback.promotion_plan import PromotionPlan
from clstm_core.feedback.registry import Registry

sys.path.insert(0, str(Path(__file__).parent))
from registry_makings import bundle, challenger

PLAN = PromotionPlan()
YEAR, WEEKS, WEEK = 252, 52, 5
PAIRS = 500


def normal(draw, size):
    return draw.normal(0.0, 0.005, size)


def calm_and_wild(draw, size):
    """Volatility that comes in stretches, with fat tails."""
    level = np.exp(0.6 * np.sin(np.arange(size) / 20.0))
    return 0.003 * level * draw.standard_t(3, size)


def seller(draw, size, often=0.005, loss=0.049):
    """Gains a little nearly always and loses much about once in 200 sessions; mean zero."""
    crash = draw.random(size) < often
    return np.where(crash, -loss, loss * often / (1.0 - often)) + draw.normal(0.0, 0.0005, size)


def coin(draw, size):
    """As wild as the bettor's bound allows: his worst case."""
    return draw.choice([-0.05, 0.05], size)


def weekly(kind, draw, window):
    """A year of weekly challengers that are no better [52, window]: alike, each judged on the newest days."""
    size = window + WEEK * WEEKS
    common = kind(draw, size)
    paths = [0.9 * common + 0.1 * kind(draw, size) for _ in range(WEEKS)]
    return np.array([path[WEEK * week : WEEK * week + window] for week, path in enumerate(paths)])


def evident(difference):
    """Whether the bettor came to enough."""
    return float(harm(-difference).wealth.max()) >= ENOUGH


def superior(difference):
    return rules.superior(rules.superiority(difference, PLAN), len(difference)).passed


@pytest.mark.parametrize("window", [252, 1008])
@pytest.mark.parametrize("kind", [normal, calm_and_wild, seller, coin])
def test_a_year_of_weekly_challengers_that_are_no_better_promotes_none_in_19_of_20_years(kind, window):
    draw = np.random.default_rng(11)
    years = 40
    false = [any(evident(path) and superior(path) for path in weekly(kind, draw, window)) for _ in range(years)]
    print(f"{kind.__name__}, {window} sessions: promoted falsely in {np.mean(false):.1%} of {years} years")
    assert np.mean(false) <= 0.05, f"promoted falsely in {np.mean(false):.1%} of {years} years"


@pytest.mark.slow
@pytest.mark.parametrize("window", [252, 1008])
@pytest.mark.parametrize("kind", [normal, calm_and_wild, seller, coin])
def test_in_200_such_years_the_bettor_alone_is_not_enough_and_both_are(kind, window):
    draw, years = np.random.default_rng(21), 200
    alone = both = 0
    for _ in range(years):
        found = [path for path in weekly(kind, draw, window) if evident(path)]
        alone += bool(found)
        both += any(superior(path) for path in found)
    print(f"{kind.__name__}, {window}: bettor alone {alone / years:.1%}, both {both / years:.1%} of {years} years")
    assert both / years <= 0.05, f"promoted falsely in {both / years:.1%} of {years} years"
    assert kind is not coin or alone / years > 0.1


def test_500_harmless_pairs_watched_daily_for_a_year_alarm_in_at_most_one_of_twenty():
    draw = np.random.default_rng(12)
    for kind in (normal, calm_and_wild, seller, coin):
        alarms = [harm(kind(draw, YEAR)).reached is not None for _ in range(PAIRS)]
        share = float(np.mean(alarms))
        print(f"{kind.__name__}: false alarms in {share:.1%} of {PAIRS} years of daily looks")
        assert share <= 0.05, f"{kind.__name__}: false alarms in {share:.1%} of {PAIRS}"


def test_a_planted_sharpe_of_four_is_promoted_within_a_year(tmp_path):
    """By the whole path: proposed each month with the days there are by then, refused until it is told, promoted."""
    data = tmp_path / "data"
    draw = np.random.default_rng(7)
    champion = draw.normal(0.0, 0.01, 2 * YEAR)
    mine = champion + draw.normal(0.01 * 4.0 / np.sqrt(YEAR), 0.01, 2 * YEAR)
    registry = Registry(Places(data))
    bundle(data, "champion")
    registry.appoint(data / "bundles" / "champion", "the first")
    against = registry.current().champion.identity
    plan = PromotionPlan(drawdown_margin=0.2, shortfall_margin=0.02)  # its own noise makes it wilder than the champion
    registry.register(plan, "a planted world")
    for count in range(126, 2 * YEAR, 21):
        run = f"after{count}"
        made = challenger(
            data,
            run,
            champion=against,
            growth=mine[:count],
            against=champion[:count],
            created="2099-01-01T00:00:00+00:00",
        )
        registry.propose(made, data / "bundles" / run, "a month more")
        state = decide(Places(data))
        if state.decision.decision == "promote":
            break
        failed = {ruling["name"] for ruling in state.decision.failed}
        assert failed <= {"superior", "evidence"}, failed
    look = state.decision.look
    print(f"promoted after {look['sessions']} sessions, wealth {look['wealth']:.1f}, lower {look['lower_bps']:.1f} bp")
    assert state.champion.run == run
    assert look["sessions"] <= YEAR
    assert look["wealth"] >= ENOUGH


@pytest.mark.slow
def test_how_many_sessions_a_sharpe_of_four_takes():
    draw = np.random.default_rng(13)
    for deviation in (0.0025, 0.005, 0.01):
        found = []
        for _ in range(200):
            path = draw.normal(deviation * 4.0 / np.sqrt(YEAR), deviation, 4 * YEAR)
            found.append(harm(-path).reached)
        days = np.sort([4 * YEAR if at is None else at + 1 for at in found])
        half, most = days[100], days[180]
        print(f"deviation {deviation:.2%}: enough after {half} sessions in half, {most} in nine of ten of 200 paths")
        assert most < 4 * YEAR


@pytest.mark.slow
def test_the_bootstrap_alone_would_promote_fair_sellers():
    """Why two answers are asked for: the lower bound at the look's level, by itself, over years of weekly looks."""
    draw, years = np.random.default_rng(14), 60
    shares = {}
    for kind in (normal, calm_and_wild, seller, coin):
        hits = 0
        for _ in range(years):
            paths = weekly(kind, draw, YEAR)
            block = block_length(paths[0])
            counts, _ = bootstrap_counts(paths[0], replications=rules.REPLICATIONS, block=block)
            hits += bool((np.quantile(counts @ paths.T / YEAR, PLAN.look_level, axis=0) > 0.0).any())
        shares[kind.__name__] = hits / years
        print(f"{kind.__name__}: the bootstrap alone promotes falsely in {hits / years:.1%} of {years} years")
    assert shares["normal"] <= 0.1
    assert shares["seller"] > 0.3
