"""The trainer learns what only memory can solve: a quick recall task here, the standard ones as slow tests."""

from typing import Any

import pytest
import torch

from clstm_core.checkpoint import load_policy
from clstm_core.config import ModelConfig, PPOConfig, RunConfig
from clstm_core.model.clstm import CLSTM
from clstm_core.train.loop import train


@torch.no_grad()
def greedy_episodes(model: CLSTM, env: Any, steps: int, *, forget: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean reward and length of the episodes that ended within `steps`, always the likeliest action."""
    env.staggered = False  # an episode joined half-way never shows its cue
    (obs, mask), start = env.reset(), torch.ones(env.n_envs, dtype=torch.bool)
    state = model.initial_state(env.n_envs)
    reward, length, finished = torch.zeros(env.n_envs), torch.zeros(env.n_envs), []
    for _ in range(steps):
        state = state.reset(torch.ones_like(start) if forget else start)
        logits, state = model.act(obs, mask, state)
        step = env.step(logits.argmax(-1))
        obs, mask, start = step.observation, step.action_mask, step.terminated | step.truncated
        reward, length = reward + step.reward, length + 1
        finished.append(torch.stack((reward, length), dim=1)[start])
        reward, length = torch.where(start, 0.0, reward), torch.where(start, 0.0, length)
    return torch.cat(finished).mean(dim=0).unbind()


def settings(*, iterations: int, memory_steps: int, n_envs: int, n_steps: int, batch_size: int, **ppo) -> RunConfig:
    return RunConfig(
        recipe="test",
        timesteps=iterations * n_envs * n_steps,
        device="cpu",
        model=ModelConfig(hidden_dim=32, memory_steps=memory_steps, attention_window=ppo.pop("window", 16)),
        ppo=PPOConfig(
            n_envs=n_envs,
            n_steps=n_steps,
            batch_size=batch_size,
            actor_lr=1e-3,
            critic_lr=1e-3,
            actor_lr_floor=0.05,
            critic_lr_floor=0.2,
            clip_epsilon=0.2,
            evaluate_every=1000,
            checkpoint_every=1000,
            **ppo,
        ),
    )


def test_recall_beyond_the_attention_window_and_bptt(toys, tmp_path):
    config = settings(
        iterations=30,
        memory_steps=16,
        n_envs=64,
        n_steps=16,
        batch_size=256,
        bptt_steps=8,
        window=4,
        policy_epochs=2,
        extra_critic_epochs=0,
        entropy_end=0.001,
    )
    train(config, toys.RecallEnv(64, length=10), run_dir=tmp_path)
    model, _ = load_policy(tmp_path / "checkpoints" / "100")
    reward, _ = greedy_episodes(model, toys.RecallEnv(256, seed=5, length=10), 20)
    assert reward > 0.9
    forgetful, _ = greedy_episodes(model, toys.RecallEnv(256, seed=5, length=10), 20, forget=True)
    assert abs(forgetful) < 0.3  # without memory it is a coin's toss


@pytest.mark.slow
def test_recall_with_a_lag_of_48_steps(toys, tmp_path):
    config = settings(
        iterations=120,
        memory_steps=128,
        n_envs=64,
        n_steps=64,
        batch_size=1024,
        bptt_steps=16,
        policy_epochs=2,
        extra_critic_epochs=0,
        entropy_end=0.001,
    )
    train(config, toys.RecallEnv(64, length=49), run_dir=tmp_path)
    model, _ = load_policy(tmp_path / "checkpoints" / "100")
    reward, _ = greedy_episodes(model, toys.RecallEnv(256, seed=5, length=49), 98)
    assert reward > 0.9


@pytest.mark.slow
def test_cartpole_without_velocities(toys, tmp_path):
    config = settings(
        iterations=60,
        memory_steps=16,
        n_envs=32,
        n_steps=128,
        batch_size=1024,
        bptt_steps=16,
        policy_epochs=6,
        extra_critic_epochs=1,
        entropy_start=0.01,
        entropy_end=0.0,
    )
    train(config, toys.BlindCartPole(32), run_dir=tmp_path)
    model, _ = load_policy(tmp_path / "checkpoints" / "100")
    _, length = greedy_episodes(model, toys.BlindCartPole(64, seed=9), 500)
    assert length >= 475
