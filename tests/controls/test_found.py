"""What a recipe finds where the edge is known, and how often it would be called better than cash there."""

import dataclasses

import numpy as np
import pytest
import torch

from clstm_core.config import EnvConfig, ModelConfig, PPOConfig, RunConfig
from clstm_core.controls import found
from clstm_core.controls.worlds import KNOWN
from clstm_core.evaluation.static_rules import Rule, RuleEarned
from clstm_core.generalisation.walk import Episodes

RULE = RuleEarned(rule=Rule("near_strangle", False, "never"), episodes=8, growth=0.4, error=0.1, deviation=2.0)
SMALL = {"n_envs": 16, "n_steps": 16, "batch_size": 64, "bptt_steps": 8, "extra_critic_epochs": 1}


def config(**changes):
    usual = RunConfig(
        timesteps=256, env=EnvConfig(horizon=10), model=ModelConfig(hidden_dim=16), ppo=PPOConfig(**SMALL)
    )
    return dataclasses.replace(usual, **changes)


def walked(growth, alive=None):
    growth = torch.as_tensor(growth)
    return Episodes(growth, torch.ones_like(growth, dtype=torch.bool) if alive is None else alive, None)


def test_what_is_found_in_a_known_world_is_told_with_its_rules(monkeypatch):
    """A moment of training: the figures are there, whatever they are."""
    monkeypatch.setattr(found, "best_rules", lambda *args, **kwargs: [RULE])
    told = []
    row = found.found_in("overpaid", config(), episodes=8, progress=lambda done, total: told.append((done, total)))
    assert 0.0 <= row["idle"] <= 1.0
    assert row["rule_growth"] == row["rule_per_risk"] == RULE.to_row()
    assert (row["windows"], row["window_sessions"]) == (1, 80)
    assert told == [(256, 256)]
    assert "rule_growth" not in found.found_in("edge-free", config(), episodes=8)


def test_a_window_is_whole_episodes_one_after_another():
    """Ten sessions, 252 episodes: two windows of 126 episodes; session t of episode e holds 100 e + t."""
    growth = 100.0 * torch.arange(252) + torch.arange(10.0)[:, None]
    windows = found.excess_windows(walked(growth)) * 1e4
    assert windows.shape == (1260, 2)
    assert windows[:12, 0].round().tolist() == [*range(10), 100.0, 101.0]
    assert round(windows[0, 1]) == 12600


def test_what_follows_an_early_end_is_cash():
    growth, alive = torch.ones(4, 3), torch.ones(4, 3, dtype=torch.bool)
    alive[2:, 1] = False
    assert found.excess_windows(walked(growth, alive)).sum() == pytest.approx(10e-4)


def test_an_edge_is_called_better_and_luck_and_cash_are_not():
    draws = np.random.default_rng(0)
    luck, fair, edge = (draws.normal(mean, 1e-3, (1260, 100)) for mean in (0.0, 0.0, 3e-4))
    assert found.called_better(edge, luck)["called_better"] == 100
    assert found.called_better(fair, luck)["called_better"] <= 5
    assert found.called_better(np.zeros((1260, 100)), luck) == {
        "windows": 100,
        "window_sessions": 1260,
        "called_better": 0,
    }


def test_an_option_sellers_luck_is_no_skill():
    """A trifle earned each session, and all of it lost once in a thousand: the interval alone is above zero often."""
    draws = np.random.default_rng(1)

    def seller():
        return np.where(draws.random((1260, 200)) < 1e-3, -999.0, 1.0) * 1e-5 + draws.normal(0, 1e-6, (1260, 200))

    observed, luck = seller(), seller()
    assert found.called_better(observed, luck)["called_better"] <= 12  # 2.5% of 200, and three standard errors


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_the_fair_world_has_the_same_quotes_and_nothing_to_earn(name):
    known = KNOWN[name]
    if known.dynamics is None:
        assert known.fair is known
        return
    fair = known.fair.dynamics
    assert (fair.quoted, fair.switch) == (known.dynamics.quoted, known.dynamics.switch)
    assert fair.realised == (1.0, 1.0)
