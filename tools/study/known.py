"""Worlds whose edge is known: does the recipe find nothing where nothing is, and how much of what is there?

    python -m tools.study known --steps 500000 --seeds 3

Options are priced at the quoted volatility in closed form; the index moves by another, or by the same.
"""

from dataclasses import dataclass
from typing import Any

import torch

from clstm_core.config import RunConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.evaluation.static_rules import best_rules, growth, per_risk
from clstm_core.generalisation.walk import Lane, earned, raw, walk_episodes
from clstm_core.market.worlds.generated import GeneratedWorld, simulated_world
from clstm_core.market.worlds.planted import PlantedDynamics
from clstm_core.ppo.learner import Learner
from clstm_core.specs import OBSERVATION

FRESH, GRID = 1_000_003, 2_000_003
"""Added to a seed: of the worlds that the policy is judged in, and of those that rules are searched in."""

NO_SHARES = 1e-6


@dataclass(frozen=True, slots=True)
class Known:
    """A world with a known edge; without dynamics the martingale one, where nothing can be earned."""

    words: str
    dynamics: PlantedDynamics | None = None

    def world(self, horizon: int, seed: int) -> GeneratedWorld:
        """Paths for whole episodes of so many sessions."""
        return simulated_world(n_steps=horizon + 2, fair=self.dynamics is None, planted=self.dynamics, seed=seed)


KNOWN: dict[str, Known] = {
    "edge-free": Known("options are priced by the law that the index follows: nothing to earn"),
    "overpaid": Known(
        "the index moves by 0.7 of the volatility that options are priced at", PlantedDynamics(realised=(0.7, 0.7))
    ),
    **{
        f"regimes-{sessions}": Known(
            f"calm: 0.7 of it, wild: 1.3 times; a change every {sessions} sessions, everybody sees which it is",
            PlantedDynamics(quoted=(0.14, 0.22), realised=(0.7, 1.3), switch=1 / sessions),
        )
        for sessions in (250, 60)
    },
}


def found_in(name: str, config: RunConfig, *, episodes: int) -> dict[str, Any]:
    """What the recipe's policy does and earns in fresh paths of a known world, beside the best static rules there.

    Units: growth and error in basis points per session beyond cash; idle: share of decisions without any position
    """
    known, horizon = KNOWN[name], config.env.horizon
    model = _learned(config, known.world(horizon, config.seed))
    env = OptionsEnv(known.world(horizon, config.seed + FRESH), raw(config.env), n_envs=episodes, stagger=False)
    (walked,) = walk_episodes([Lane(model)], env, config.env)
    did = earned(walked, config.ppo.gamma)
    seen = walked.rollout.observation
    legs, shares = (seen[..., OBSERVATION.index(column)] for column in ("legs_held", "share_fraction"))
    idle = ((legs == 0) & (shares.abs() < NO_SHARES) & walked.alive).sum() / walked.alive.sum()
    row = {
        "idle": float(idle),
        "growth_bps": did.growth_bps,
        "error_bps": did.error_bps,
        "deviation_bps": did.deviation_bps,
        "per_risk": did.per_risk,
        "actions": did.actions,
    }
    if known.dynamics is None:
        return row
    searched = known.world(horizon, config.seed + GRID)
    best = {
        name: best_rules(searched, config.env, seed=config.seed, by=by)[0]
        for name, by in (("rule_per_risk", per_risk), ("rule_growth", growth))
    }
    return row | {name: found.to_row() for name, found in best.items()}


def _learned(config: RunConfig, world: GeneratedWorld) -> Any:
    """The policy after the whole run; memory alone, nothing is written."""
    env = OptionsEnv(world, config.env, n_envs=config.ppo.n_envs, seed=config.seed)
    learner = Learner(config, env)
    learner.warm_up()
    for _ in range(config.n_iterations):
        learner.iterate()
    torch.set_grad_enabled(True)
    return learner.model
