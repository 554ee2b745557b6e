"""The ceiling of what a critic may foresee: found where there is something, and nothing where there is not."""

import numpy as np
import pytest
import torch

from clstm_core.ppo.storage import Rollout
from tools.study.ceiling import AHEAD, judged

EPISODES, STEPS, GAMMA = 200, 126, 0.95


def walk(*, signal: float, persistence: float = 0.0, critic: float = 0.0, seed: int = 0) -> tuple[Rollout, np.ndarray]:
    """Rewards of which `signal` times a state was known before; the critic values the state at `critic` times it."""
    draws = np.random.default_rng(seed)
    state = np.empty((STEPS, EPISODES))
    state[0] = draws.standard_normal(EPISODES)
    for step in range(1, STEPS):
        fresh = draws.standard_normal(EPISODES)
        state[step] = persistence * state[step - 1] + np.sqrt(1 - persistence**2) * fresh
    reward = torch.tensor(signal * state + draws.standard_normal(state.shape))
    value = torch.tensor(critic * state)
    never = torch.zeros(STEPS, EPISODES, dtype=torch.bool)
    parts = dict.fromkeys(Rollout._fields)
    parts |= {"reward": reward, "value": value, "next_value": torch.cat([value[1:], value[-1:]])}
    rollout = Rollout(**parts | {"terminated": never, "truncated": never})
    return rollout, np.stack([state, draws.standard_normal(state.shape)], axis=-1)


def found(**world):
    return {row.of: row for row in judged(*walk(**world), GAMMA)}


def test_what_can_be_foreseen_is_found_and_the_critic_is_held_against_it():
    rows = found(signal=1.0, critic=0.5)
    ahead = rows["rewards of 1, by forecasts"]
    assert ahead.ridge == pytest.approx(0.5, abs=0.03)  # var 1 of 2
    assert ahead.trees > 0.45
    assert 0 < ahead.error < 0.05
    summed = rows[f"rewards of {AHEAD} sessions, by values"]
    of_all = 2 * (1 - GAMMA ** (2 * AHEAD)) / (1 - GAMMA**2)
    assert summed.ridge == pytest.approx(1 / of_all, abs=0.02)  # the first reward's share alone is known
    assert summed.critic == pytest.approx((1 - 0.5**2) / of_all, abs=0.02)


def test_the_true_value_function_is_charged_for_its_own_surprise_in_the_measure_of_training():
    """Of a state that lasts, V is many times the next reward, and what moves V moves the measure."""
    true = 1 / (1 - GAMMA * 0.9)
    rows = found(signal=1.0, persistence=0.9, critic=true)
    one = rows["rewards of 1, by differences of values"]
    noise, surprise = 1.0, (GAMMA * true) ** 2 * (1 - 0.9**2)
    assert one.critic == pytest.approx(1 - (noise + surprise) / 2, rel=0.05)
    assert one.critic < 0 < rows["rewards of 1, by forecasts"].ridge
    assert one.ridge == pytest.approx(one.critic, rel=0.15)
    summed = rows[f"rewards of {AHEAD} sessions, by values"]
    assert summed.critic == pytest.approx(summed.ridge, abs=0.03)


def test_of_noise_nothing_is_foreseen():
    rows = found(signal=0.0)
    for row in rows.values():
        assert row.ridge < 0.03
        assert row.trees < 0.03
        assert row.critic != row.critic or row.critic == 0.0
