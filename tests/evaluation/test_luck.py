"""Luck is measured, not assumed: ranks are exact, families corrected, and a seller of tails is not called skilled."""

import numpy as np
import pytest
import torch

from clstm_core.config import EnvConfig
from clstm_core.env import columns as col
from clstm_core.errors import EvaluationError
from clstm_core.evaluation import fair_proof, luck
from clstm_core.evaluation.baselines.catalogue import baselines
from clstm_core.evaluation.baselines.rule import Rule, cell_rows, contract_facts, free_at_fill, open_units
from clstm_core.evaluation.baselines.stock import BuyAndHold
from clstm_core.evaluation.fair_walk import walk_fair_worlds
from clstm_core.evaluation.fair_worlds import span_ratios
from clstm_core.evaluation.statistics import paired_mean
from clstm_core.evaluation.words import percent_of
from clstm_core.market.build.generated import generated_market
from clstm_core.market.worlds.fair import fair_world
from clstm_core.market.worlds.generated import simulated_world

FREE = EnvConfig(**fair_proof.FREE)


class FarPuts(Rule):
    """Sells puts of 0.05 delta that its equity secures, to expiry."""

    def write(self, env, state, orders):
        rows, free = cell_rows(env, state, "near_put_05"), free_at_fill(env, state)
        strike, multiplier = contract_facts(env, torch.where(free, rows[:, 0], -1))
        size = torch.floor(state.equity_N / (strike * multiplier).clamp(min=1.0))
        open_units(orders, rows, torch.where(self.may_open(free, rows, size), size, 0.0), -1)


@pytest.fixture(scope="module")
def market():
    return generated_market(simulated_world(n_steps=300, n_paths=1, seed=11))


@pytest.fixture(scope="module")
def world(market):
    return fair_world(market, (0, 270))


@pytest.fixture(scope="module")
def walked(world):
    """Far puts and the index without costs in 400 fair worlds of 269 sessions."""
    return walk_fair_worlds([FarPuts("far_puts", ""), BuyAndHold("index", "")], world, FREE, n_worlds=400)


def test_a_p_value_counts_the_worlds_that_did_at_least_as_well():
    rng = np.random.default_rng(0)
    worlds = rng.normal(size=(100, 99)) * 0.01
    best = worlds[:, luck.ratios(worlds).argmax()]
    assert luck.p_value(best, worlds) == pytest.approx(2 / 100)
    assert luck.p_value(best + 0.1, worlds) == pytest.approx(1 / 100)
    assert luck.p_value(worlds[:, luck.ratios(worlds).argmin()], worlds) == 1.0
    assert luck.p_value(np.zeros(100), worlds) > 0.3


def test_worlds_left_out_are_as_often_significant_as_the_level_says():
    pool = luck.ratios(np.random.default_rng(1).normal(size=(50, 1000)))
    p = luck.left_out(pool)
    assert (p <= 0.025).mean() == pytest.approx(0.025)
    assert p.min() == pytest.approx(1 / 1000)


def test_holm_by_hand():
    assert luck.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert luck.holm({}) == {}


def test_nothing_is_earned_on_average(walked):
    for excess in walked.values():
        means = excess.mean(axis=0)
        assert abs(means.mean()) < 3.5 * means.std(ddof=1) / np.sqrt(means.size)
        assert means.std() > 0


def test_the_bootstrap_alone_calls_far_puts_better_than_cash_and_the_rank_does_not(walked):
    excess = walked["far_puts"]
    logs = np.log1p(excess)
    low = np.array([paired_mean(logs[:, w], np.zeros(len(logs)), replications=300).low for w in range(400)])
    ranked = luck.left_out(luck.ratios(excess)) <= luck.HEADLINE_LEVEL
    assert (low > 0).mean() > 0.15  # nominal 2.5%
    assert (ranked & (low > 0)).mean() <= 0.03


def test_a_planted_edge_is_found(walked):
    """Sharpe 2.5 over about a year, in more than half of the worlds."""
    excess = walked["index"]
    planted = excess - excess.mean() + 2.5 / np.sqrt(252) * excess.std(axis=0, ddof=1)
    found = luck.tail_share(luck.ratios(planted), luck.ratios(excess)) <= luck.HEADLINE_LEVEL
    assert found.mean() > 0.5


def test_every_baseline_walks_fair_worlds_and_pays_only_its_costs(world, market):
    policies = [policy for policy in baselines(market, random_episodes=1)]
    free = walk_fair_worlds(policies, world, FREE, n_worlds=60)
    assert set(free) == {policy.name for policy in policies}
    assert np.abs(free.pop("cash")).max() < 1e-6
    for name, excess in free.items():
        means = excess.mean(axis=0)
        assert abs(means.mean()) < 4.0 * means.std(ddof=1) / np.sqrt(means.size), name
        assert np.abs(excess).max() > 1e-4, name
    costly = walk_fair_worlds(policies, world, EnvConfig(), n_worlds=60)
    assert costly["random"].mean() < free["random"].mean()


def test_an_account_alone_earns_what_it_earns_among_others(world):
    both = walk_fair_worlds([FarPuts("a", ""), BuyAndHold("b", "")], world, EnvConfig(), n_worlds=5)
    alone = walk_fair_worlds([FarPuts("a", "")], world, EnvConfig(), n_worlds=5)
    np.testing.assert_array_equal(both["a"], alone["a"])


def test_worlds_walked_in_two_parts_are_those_walked_at_once(world):
    def walk(**which):
        return walk_fair_worlds([FarPuts("a", "")], world, EnvConfig(), **which)["a"]

    parts = [walk(n_worlds=3), walk(n_worlds=4, first_world=3)]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), walk(n_worlds=7), atol=1e-6)


def test_ruin_is_kept_and_nothing_follows_it(world):
    class Leveraged(Rule):
        def write(self, env, state, orders):
            spot = env.view.snapshot(state.snapshot_index_N)[:, col.SPOT]
            flat = state.shares_N == 0
            orders.share_quantity_N[:] = torch.where(flat, torch.floor(11.0 * state.equity_N / spot), 0.0).long()

    excess = walk_fair_worlds([Leveraged("l", "")], world, FREE, n_worlds=40)["l"]
    ruined = (excess < -0.9).any(axis=0)
    for column in excess[:, ruined].T:
        last = int(np.argmax(column < -0.9))
        assert not column[last + 1 :].any()
    assert np.isfinite(excess).all()


def test_two_policies_of_one_name_are_refused(world):
    with pytest.raises(EvaluationError, match="expected one name each"):
        walk_fair_worlds([Rule("a", ""), Rule("a", "")], world, FREE, n_worlds=2)


@pytest.mark.parametrize(("sessions", "factor"), [(104, 104), (251, 252), (500, 252)])
def test_a_window_under_a_year_is_not_annualised(sessions, factor):
    """The ratio is of the window then, and the words beside it say so."""
    excess = np.random.default_rng(0).normal(1e-4, 1e-2, (sessions, 3))
    np.testing.assert_allclose(span_ratios(excess), luck.ratios(excess) * factor**0.5)
    assert ("per year" in percent_of(sessions)[1]) == (sessions >= 251)
