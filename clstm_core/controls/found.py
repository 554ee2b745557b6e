"""What a recipe finds in a world whose edge is known, and how often it would be called better than cash there."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from clstm_core.config import EnvConfig, RunConfig
from clstm_core.controls.worlds import KNOWN, Known
from clstm_core.env.options_env import OptionsEnv
from clstm_core.evaluation.luck import HEADLINE_LEVEL, ratios, tail_share
from clstm_core.evaluation.static_rules import best_rules, growth, per_risk
from clstm_core.evaluation.statistics import Floats, paired_mean
from clstm_core.generalisation.walk import Episodes, Lane, earned, raw, walk_episodes
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.model.clstm import CLSTM
from clstm_core.ppo.learner import Learner
from clstm_core.specs import OBSERVATION

Progress = Callable[[int, int], None]

FRESH, GRID, LUCK = 1_000_003, 2_000_003, 3_000_003
"""Added to a seed: of the worlds a policy is judged in, of those rules are searched in, of those luck is told by."""

WINDOW = 1260
"""Sessions that a policy is judged over, as many whole episodes as they hold: five years."""

NO_SHARES = 1e-6
FEWEST_WINDOWS = math.ceil(1.0 / HEADLINE_LEVEL) - 1
"""Windows of luck below which nothing could ever be called better than cash: a control that could not fail."""

_BPS = 1e4


def found_in(name: str, config: RunConfig, *, episodes: int, progress: Progress | None = None) -> dict[str, Any]:
    """What the recipe's policy does and earns in fresh paths of a known world, beside the best static rules there.

    Of the row: `windows` of `window_sessions` were judged as a verdict judges, by the interval against cash and by the
    policy's own luck in `Known.fair`; in `called_better` of them it was called better than cash.

    Args:
        progress: told the env steps that were learned from, of all

    Units: growth and error in basis points per session beyond cash; idle: share of decisions without any position
    """
    known, env = KNOWN[name], config.env
    model = _learned(config, known.world(env.horizon, config.seed), progress)
    walked = _walk(model, known, env, episodes, config.seed + FRESH)
    lucky = _walk(model, known.fair, env, episodes, config.seed + LUCK)
    did = earned(walked, config.ppo.gamma)
    row = {
        "idle": _idle(walked),
        "growth_bps": did.growth_bps,
        "error_bps": did.error_bps,
        "deviation_bps": did.deviation_bps,
        "per_risk": did.per_risk,
        "actions": did.actions,
        **called_better(excess_windows(walked), excess_windows(lucky)),
    }
    if known.dynamics is None:
        return row
    searched = known.world(env.horizon, config.seed + GRID)
    best = {
        name: best_rules(searched, env, seed=config.seed, by=by)[0]
        for name, by in (("rule_per_risk", per_risk), ("rule_growth", growth))
    }
    return row | {name: rule.to_row() for name, rule in best.items()}


def episodes_per_window(horizon: int) -> int:
    """Whole episodes of so many sessions that a window holds, at least one."""
    return max(1, WINDOW // horizon)


def excess_windows(walked: Episodes) -> Floats:
    """Log growth beyond cash [T, W], as many whole episodes one after another as make a window.

    What follows the end of an episode is cash. Episodes too few for a window are one.
    """
    growth = (walked.growth * walked.alive).double().numpy() / _BPS
    sessions, n = growth.shape
    each = min(episodes_per_window(sessions), n)
    whole = growth[:, : n // each * each]
    return whole.reshape(sessions, -1, each).transpose(2, 0, 1).reshape(each * sessions, -1)


def called_better(observed: Floats, lucky: Floats, *, seed: int = 0) -> dict[str, int]:
    """In how many windows [T, W] a verdict would say that the policy beats cash, its luck being [T, W'].

    It says so where its ratio is among the best `HEADLINE_LEVEL` of luck and its interval lies above zero.
    """
    sessions, count = observed.shape
    unlikely = tail_share(ratios(observed), ratios(lucky)) <= HEADLINE_LEVEL
    nothing = np.zeros(sessions)
    better = sum(paired_mean(observed[:, at], nothing, seed=seed).sign > 0 for at in np.flatnonzero(unlikely))
    return {"windows": count, "window_sessions": sessions, "called_better": int(better)}


def _walk(model: CLSTM, known: Known, config: EnvConfig, episodes: int, seed: int) -> Episodes:
    """Whole episodes of a world's paths of that seed, the likeliest action each time."""
    env = OptionsEnv(known.world(config.horizon, seed), raw(config), n_envs=episodes, stagger=False)
    return walk_episodes([Lane(model)], env, config)[0]


def _idle(walked: Episodes) -> float:
    seen = walked.rollout.observation
    legs, shares = (seen[..., OBSERVATION.index(column)] for column in ("legs_held", "share_fraction"))
    return float(((legs == 0) & (shares.abs() < NO_SHARES) & walked.alive).sum() / walked.alive.sum())


def _learned(config: RunConfig, world: GeneratedWorld, progress: Progress | None) -> CLSTM:
    """The policy after the whole run; memory alone, nothing is written."""
    env = OptionsEnv(world, config.env, n_envs=config.ppo.n_envs, seed=config.seed)
    learner = Learner(config, env)
    learner.warm_up()
    steps = config.ppo.n_envs * config.ppo.n_steps
    for iteration in range(config.n_iterations):
        learner.iterate()
        if progress is not None:
            progress((iteration + 1) * steps, config.n_iterations * steps)
    torch.set_grad_enabled(True)
    return learner.model
