"""A short seeded training run on the frozen market: its curve, so that a refactoring shows itself by its figures."""

import dataclasses
import json

import pytest

from clstm_core.config import EnvConfig, ModelConfig, PPOConfig, RunConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.train.loop import train

CURVE = (
    "env_steps",
    "mean_reward",
    "reward_std",
    "episode_length",
    "policy_loss",
    "value_loss",
    "entropy",
    "approx_kl",
    "clip_fraction",
    "policy_grad_norm",
    "value_grad_norm",
    "bootstrapped_explained_variance",
    "predicted_mean",
    "actor_lr",
)
TOLERANCE = 1e-3
"""Relative: other processors and versions of torch round float32 otherwise, and six updates carry that on."""

CONFIG = RunConfig(
    recipe="golden",
    timesteps=6 * 32 * 16,
    seed=3,
    device="cpu",
    env=EnvConfig(horizon=12),
    model=ModelConfig(hidden_dim=32, attention_window=4),
    ppo=PPOConfig(
        n_envs=32, n_steps=16, batch_size=128, bptt_steps=8, extra_critic_epochs=1, actor_lr=2e-3, critic_lr=2e-3
    ),
)


def curve(market, config: RunConfig, folder) -> dict[str, dict]:
    """One line per iteration."""
    env = OptionsEnv(market, config.env, n_envs=config.ppo.n_envs, seed=config.seed, window=market.split("train"))
    train(config, env, run_dir=folder)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {f"iteration {row['iteration']}": {name: row[name] for name in CURVE} for row in rows}


def test_training_goes_as_it_did(market, tmp_path, golden):
    found = curve(market, CONFIG, tmp_path)
    assert len(found) == 6
    golden("training_curve", found, tolerance=TOLERANCE)


@pytest.mark.parametrize("knob", [{"gamma": 0.97}, {"clip_epsilon": 0.15}, {"actor_lr": 2.1e-3}], ids=str)
def test_another_knob_is_another_curve(golden, market, tmp_path, knob):
    other = dataclasses.replace(CONFIG, ppo=dataclasses.replace(CONFIG.ppo, **knob))
    with pytest.raises(AssertionError, match="iteration"):
        dataclasses.replace(golden, update=False)("training_curve", curve(market, other, tmp_path), TOLERANCE)
