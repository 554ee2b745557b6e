"""Proof 5: where there is something to learn, PPO finds it; where there is nothing, it holds cash."""

import dataclasses

import pytest
import torch

from clstm_core.checkpoint import load_policy
from clstm_core.config import EnvConfig, MarketConfig, ModelConfig, PPOConfig, RunConfig, default_cpu
from clstm_core.controls.found import found_in
from clstm_core.env.options_env import OptionsEnv
from clstm_core.market.build.simulated import simulated_market
from clstm_core.specs import MARKET_FEATURES
from clstm_core.train.loop import train

pytestmark = pytest.mark.slow


def fair_world():
    """A P = Q world, long enough that a policy cannot know its days by heart."""
    config = MarketConfig(source="simulated", n_snapshots=3000, premium=False, seed=5)
    return simulated_market(config, embargo=config.feature_lookback + 5)


def with_tomorrow(market):
    """The same market whose `return_1d` is tomorrow's return: the leak that a learner must find."""
    features = market.features_TF.clone()
    column = MARKET_FEATURES.index("return_1d")
    features[:-1, column] = (market.spot_T[1:] / market.spot_T[:-1]).log().float()
    return dataclasses.replace(market, features_TF=features)


def learned(market, env_config, folder, timesteps):
    """The policy that PPO leaves after `timesteps`."""
    config = RunConfig(
        recipe="proof_5",
        timesteps=timesteps,
        env=env_config,
        model=ModelConfig(hidden_dim=64, attention_window=4),
        ppo=PPOConfig(
            n_envs=256,
            n_steps=32,
            batch_size=1024,
            actor_lr=1e-3,
            critic_lr=1e-3,
            actor_lr_floor=0.1,
            critic_lr_floor=0.2,
            entropy_start=0.02,
            entropy_end=0.001,
            extra_critic_epochs=1,
            target_kl=0.01,
        ),
    )
    env = OptionsEnv(market, env_config, n_envs=config.ppo.n_envs, seed=1)
    result = train(config, env, run_dir=folder)
    return load_policy(result.checkpoints["100"])[0]


@torch.no_grad()
def walk(policy, env, steps):
    """Rewards [T, N] and likeliest actions [T, N] of the policy from a fresh start."""
    observation, mask = env.reset()
    state = policy.initial_state(env.n_envs)
    rewards, actions = [], []
    for _ in range(steps):
        logits, state = policy.act(observation, mask, state)
        action = logits.argmax(dim=-1)
        step = env.step(action)
        rewards.append(step.reward)
        actions.append(action)
        state = state.reset(step.terminated | step.truncated)
        observation, mask = step.observation, step.action_mask
    return torch.stack(rewards), torch.stack(actions)


def oracle(env, steps):
    """Rewards [T, N] of taking, each day, the legal action that this very day will pay most: all are tried."""
    env.reset()
    best = []
    for _ in range(steps):
        before = env.state_dict()
        tried = []
        for action in range(env.n_actions):
            env.load_state_dict(before)
            tried.append(env.step(torch.full((env.n_envs,), action)).reward)
        reward, action = torch.stack(tried).max(dim=0)
        env.load_state_dict(before)
        env.step(action)
        best.append(reward)
    return torch.stack(best)


def test_a_leaked_tomorrow_is_found_through_touch_costs(tmp_path):
    market = with_tomorrow(fair_world())
    days = EnvConfig(horizon=2, fill_lag=0)  # short episodes: the best action of each day is nearly the best plan
    policy = learned(market, days, tmp_path, timesteps=800_000)
    test = {"n_envs": 400, "seed": 9, "window": market.split("test")}
    earned, _ = walk(policy, OptionsEnv(market, days, **test), steps=10)
    possible = oracle(OptionsEnv(market, days, **test), steps=10)
    share = (earned.mean() / possible.mean()).item()
    assert possible.mean() > 0
    assert share >= 0.70, f"PPO found {share:.0%} of the oracle's profit"


def test_cash_is_held_where_nothing_can_be_earned():
    found = found_in("edge-free", dataclasses.replace(default_cpu(), timesteps=300_000), episodes=256)
    assert found["idle"] >= 0.95
    assert abs(found["growth_bps"]) < 0.02


def test_overpaid_sellers_are_found_and_do_as_well_as_the_best_fixed_rule():
    found = found_in("overpaid", dataclasses.replace(default_cpu(), timesteps=500_000), episodes=256)
    assert found["growth_bps"] >= 0.70 * found["rule_growth"]["growth_bps"]
