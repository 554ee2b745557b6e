"""What is compared: one change each of the default recipe, by name."""

import dataclasses
from collections.abc import Callable
from typing import Any

from clstm_core.config import WITHOUT_BUDGET, RunConfig, default_cpu
from clstm_core.controls.worlds import KNOWN

Change = Callable[[RunConfig], RunConfig]


def _ppo(**settings: Any) -> Change:
    return lambda config: dataclasses.replace(config, ppo=dataclasses.replace(config.ppo, **settings))


def _env(**settings: Any) -> Change:
    return lambda config: dataclasses.replace(config, env=dataclasses.replace(config.env, **settings))


def _model(**settings: Any) -> Change:
    return lambda config: dataclasses.replace(config, model=dataclasses.replace(config.model, **settings))


def _worlds(**settings: Any) -> Change:
    return lambda config: dataclasses.replace(config, worlds=dataclasses.replace(config.worlds, **settings))


def _dates(config: RunConfig) -> RunConfig:
    """Train on the training dates themselves."""
    return _worlds(**dict.fromkeys(config.worlds.shares, 0.0))(config)


def _fixed(**settings: Any) -> Change:
    """A fixed learning rate, as the published table has it."""
    return _ppo(target_kl=None, **settings)


YEARS: dict[str, Change] = {
    "dates": _dates,
    **{f"years-{years}": _worlds(years=float(years)) for years in (10, 30, 100, 1000)},
    "unlimited-raw": _env(expected_reward=False),
    "unlimited": lambda config: config,
}
"""How many years of market there are to train in. Days that come again are rewarded raw: `unlimited-raw` is what they
are to be held against, `unlimited` what worlds that never repeat allow besides."""

ABLATION: dict[str, Change] = {
    "default": lambda config: config,
    "try-a": _fixed(actor_lr=2e-4, critic_lr=2e-4, policy_epochs=2, clip_epsilon=0.2),
    "try-b": _fixed(actor_lr=1e-4, critic_lr=1e-4, policy_epochs=2, clip_epsilon=0.15),
    "try-c": _fixed(actor_lr=1e-4, critic_lr=4e-4, policy_epochs=1, clip_epsilon=0.10),
    "policy-epochs-1": _ppo(policy_epochs=1),
    "policy-epochs-2": _ppo(policy_epochs=2),
    "policy-epochs-4": _ppo(policy_epochs=4),
    "clip-0.2": _ppo(clip_epsilon=0.2),
    "single-trunk": _model(dual_trunk=False),
    "no-attention": _model(use_attention=False),
    "no-warmup": _ppo(warmup_rollouts=0),
    "reward-scale-0.2": _env(reward_scale=0.2),
    "gamma-0.99": _ppo(gamma=0.99),
    "raw-reward": _env(expected_reward=False),
    "aversion-1": _env(risk_aversion=1.0),
    "aversion-5": _env(risk_aversion=5.0),
    "no-hold-bias": _model(hold_bias=0.0),
    "published-entropy": _ppo(entropy_start=0.02, entropy_end=0.005),
    "all-families": _worlds(historical=0.55, blocks=0.15, heston=0.2, history=0.1),
    "no-budget": _env(**WITHOUT_BUDGET),
}
"""The published tuning table and what else one would ask, on these worlds."""

KNOWN_EDGES: dict[str, Change] = dict.fromkeys(KNOWN, lambda config: config)
"""The recipe as it is, in worlds whose edge is known."""

STUDIES: dict[str, dict[str, Change]] = {"years": YEARS, "ablation": ABLATION, "known": KNOWN_EDGES}


def configuration(study: str, cell: str, *, steps: int, seed: int) -> RunConfig:
    """The default recipe with a cell's change; each seed has weights, envs and worlds of its own.

    The env's step is compiled: it takes minutes once, and saves two thirds of each cell.
    """
    changed = STUDIES[study][cell](default_cpu())
    worlds = dataclasses.replace(changed.worlds, seed=seed)
    return dataclasses.replace(
        changed, recipe=f"{study}-{cell}", timesteps=steps, seed=seed, worlds=worlds, compile_env="on"
    )
