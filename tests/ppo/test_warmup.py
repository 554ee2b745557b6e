"""Warmup teaches the critic, touches the encoder lightly, and leaves the actor bit-identical."""

import pytest
import torch

from clstm_core.model.clstm import CLSTM
from clstm_core.ppo import warmup
from clstm_core.ppo.warmup import KL_LIMIT, warm_critic


@pytest.fixture
def setup(toys, tiny):
    config = tiny(n_envs=32, warmup_epochs=6, warmup_lr=5e-3)
    env = toys.NoiseEnv(32, length=12)
    torch.manual_seed(0)
    return CLSTM(env.observation_size, env.n_actions, config.model), env, config.ppo


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(model, before, room):
    return {n for n, v in model.state_dict().items() if n.startswith(room) and not torch.equal(v, before[n])}


def test_critic_learns_and_actor_stays_bit_identical(setup):
    model, env, config = setup
    before = snapshot(model)
    result = warm_critic(model, env, config)
    assert not moved(model, before, "actor_trunk")
    assert not moved(model, before, "policy_head")
    assert result.actor_untouched
    assert moved(model, before, "encoder.layers")
    assert moved(model, before, "critic_trunk")
    assert result.bootstrapped_explained_variance_after > result.bootstrapped_explained_variance_before
    assert result.bootstrapped_explained_variance_after > 0.3
    assert result.value_loss[-1] < result.value_loss[0]
    assert 0 < result.policy_kl <= KL_LIMIT
    assert not result.encoder_frozen
    assert all(p.grad is None for p in model.parameters())


def test_an_encoder_that_moves_the_policy_too_far_is_set_back(setup, monkeypatch):
    model, env, config = setup
    before = snapshot(model)
    monkeypatch.setattr(warmup, "KL_LIMIT", 0.0)
    result = warm_critic(model, env, config)
    assert result.encoder_frozen
    assert not moved(model, before, "encoder")
    assert moved(model, before, "critic_trunk")
    assert result.bootstrapped_explained_variance_after > result.bootstrapped_explained_variance_before


def test_the_result_is_plain_json(setup):
    result = warm_critic(*setup)
    figures = result.to_dict()
    assert "carry" not in figures
    assert figures["env_steps"] == 3 * 32 * 16
    assert all(isinstance(v, float | int | tuple) for v in figures.values())
