"""The grid of fixed rules: walked together as alone, and a planted edge is found by the rule that is made for it."""

import dataclasses
import math

import pytest
import torch

from clstm_core.config import EnvConfig
from clstm_core.evaluation import static_rules
from clstm_core.evaluation.static_rules import HEDGES, Rule, best_rules, grid, walk_rules
from clstm_core.market.worlds.generated import simulated_world
from clstm_core.market.worlds.planted import PlantedDynamics
from clstm_core.specs import ACTIONS, FIRST_TEMPLATE, HEDGE_DELTA

CONFIG = EnvConfig(horizon=25)


def test_the_grid_is_every_package_at_each_size_and_hedge():
    rules = grid()
    assert len(set(rules)) == len(rules) == 2 * len(HEDGES) * (len(ACTIONS) - FIRST_TEMPLATE)
    assert Rule("near_short_strangle", True, "daily").words == "near short strangle, stacked, hedged daily"
    assert Rule("far_long_call", False, "never").words == "far long call, one at a time"


def test_rules_walked_together_earn_what_each_earns_alone():
    world = simulated_world(n_steps=30, near_days=7.0, far_days=14.0)
    rules = [Rule("near_cash_secured_put", False, "daily"), Rule("far_long_call", True, "never")]
    together = walk_rules(rules, world, CONFIG, paths=8, seed=3)
    for rule, found in zip(rules, together, strict=True):
        (alone,) = walk_rules([rule], world, CONFIG, paths=8, seed=3)
        assert alone == found
        assert found.deviation > 0


def test_rules_are_judged_by_growth_alone_whatever_the_account_is_rewarded_by():
    world = simulated_world(n_steps=30, near_days=7.0, far_days=14.0)
    rules, penalised = [Rule("far_long_call", True, "never")], dataclasses.replace(CONFIG, risk_penalty=0.1)
    assert walk_rules(rules, world, penalised, paths=8, seed=3) == walk_rules(rules, world, CONFIG, paths=8, seed=3)


def test_a_hedge_that_an_opening_comes_before_is_made_a_session_later(monkeypatch):
    """Stacked, so that it opens at every even session: weekly hedges are due at 5, 10, 15 and 20."""
    taken = []

    class Recorded(static_rules.OptionsEnv):
        def step(self, action):
            taken.append(action.clone())
            return super().step(action)

    monkeypatch.setattr(static_rules, "OptionsEnv", Recorded)
    world = simulated_world(n_steps=30)
    walk_rules([Rule("near_short_strangle", True, "weekly")], world, CONFIG, paths=16, seed=0)
    hedges = (torch.stack(taken) == HEDGE_DELTA).float().mean(dim=1)
    assert 0 < hedges[21] < 1
    assert hedges[[10, 20]].sum() + hedges[[11, 21]].sum() == 2  # every account that holds a strangle
    assert hedges[[t for t in range(CONFIG.horizon) if t % 5 > 1]].sum() == 0


def test_a_planted_edge_is_found_on_paths_that_did_not_choose_it(monkeypatch):
    for name, value in (("PATHS", 16), ("FINALISTS", 3), ("FINAL_PATHS", 64)):
        monkeypatch.setattr(static_rules, name, value)
    packages = ("near_short_strangle", "near_long_straddle", "near_bear_put_spread")
    monkeypatch.setattr(static_rules, "grid", lambda: [Rule(p, False, h) for p in packages for h in HEDGES])
    world = simulated_world(n_steps=30, near_days=7.0, far_days=14.0, planted=PlantedDynamics(realised=(0.5, 0.5)))
    best = best_rules(world, CONFIG)
    assert best[0].rule.package == "near_short_strangle"
    assert best[0].growth > 3.0 * best[0].error
    assert [found.per_risk for found in best] == sorted((found.per_risk for found in best), reverse=True)
    # four stretches in all: however many paths of them are worth no more than four
    few = best_rules(world, CONFIG, draws=4.0)
    assert few[0].error == pytest.approx(math.sqrt(1.0 + best[0].episodes / 4.0) * best[0].error)
    assert few[0].growth == best[0].growth
    poor = dataclasses.replace(
        world, paths=dataclasses.replace(world.paths, dynamics=PlantedDynamics(realised=(1.5, 1.5)))
    )
    assert best_rules(poor, CONFIG)[0].rule.package == "near_long_straddle"
