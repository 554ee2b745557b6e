"""The best that a fixed rule earns in a family of worlds: a grid of rules, all walked at once on the same paths.

A rule opens one package again and again, to the brim of what the account allows or one at a time, and takes its delta
out never, weekly or daily. The best of many on few paths flatters itself: the leaders are walked again on other paths,
and what they earn there is what counts. The best of those few is called so on the same paths, so that its figure still
flatters a little. Leaders are told by growth less what nobody could expect of it, where the world knows that: a few
paths tell then what else would take hundreds.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.market.worlds.generated import GeneratedWorld
from clstm_core.specs import ACTIONS, FIRST_TEMPLATE, HEDGE_DELTA, HOLD, OBSERVATION

HEDGES = {"never": 0, "weekly": 5, "daily": 1}
"""Sessions between two hedges."""

PATHS, FINALISTS, FINAL_PATHS = 24, 6, 512
RAW: dict[str, Any] = {
    "reward": "log_growth",
    "risk_aversion": 1.0,
    "risk_penalty": 0.0,
    "expected_reward": False,
    "reward_scale": 1.0,
}
"""Settings under which an env's reward is raw growth beyond cash, in basis points."""

_BPS = 1e4
_LEGS_HELD = OBSERVATION.index("legs_held")


class Rule(NamedTuple):
    """One point of the grid."""

    package: str
    stacked: bool  # opened whenever it may be; else when nothing is held
    hedge: str

    @property
    def words(self) -> str:
        """For example `near short strangle, stacked, hedged daily`."""
        size = "stacked" if self.stacked else "one at a time"
        hedged = "" if self.hedge == "never" else f", hedged {self.hedge}"
        return f"{self.package.replace('_', ' ')}, {size}{hedged}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleEarned:
    """What a rule earned. Units: basis points of growth beyond cash per session."""

    rule: Rule
    episodes: int
    growth: float
    error: float  # of the mean, by independent episodes
    deviation: float  # of a session

    @property
    def per_risk(self) -> float:
        """Growth per unit of risk: the mean over the deviation of a session."""
        return self.growth / self.deviation if self.deviation > 0 else 0.0

    def to_row(self) -> dict[str, Any]:
        """As plain JSON types, named as rows of the gap are."""
        return {
            "rule": self.rule.words,
            "episodes": self.episodes,
            "growth_bps": self.growth,
            "error_bps": self.error,
            "deviation_bps": self.deviation,
            "per_risk": self.per_risk,
        }


def grid() -> list[Rule]:
    """Every package, stacked or one at a time, with each hedge."""
    return [
        Rule(package, stacked, hedge)
        for package in ACTIONS[FIRST_TEMPLATE:]
        for stacked in (False, True)
        for hedge in HEDGES
    ]


def per_risk(found: RuleEarned) -> float:
    """Growth per unit of risk, to rank rules by."""
    return found.per_risk


def growth(found: RuleEarned) -> float:
    """Growth, to rank rules by."""
    return found.growth


def best_rules(
    world: GeneratedWorld,
    config: EnvConfig,
    *,
    seed: int = 0,
    by: Callable[[RuleEarned], float] = per_risk,
    paths: int = PATHS,
    final_paths: int = FINAL_PATHS,
    draws: float = math.inf,
) -> list[RuleEarned]:
    """The finalists of the grid on paths that did not choose them, the best first.

    Which of them is first, these paths do choose.

    Args:
        config: the account's rules; its reward is read raw
        by: what is best
        paths: of every rule; final_paths: of the leaders
        draws: distinct stretches of this market that there are: paths out of few are worth as few
    """
    rules = grid()
    first = walk_rules(rules, world, config, paths=paths, seed=seed, expected=True)
    chosen = sorted(first, key=by, reverse=True)[:FINALISTS]
    final = walk_rules([found.rule for found in chosen], world, config, paths=final_paths, seed=seed + 1)
    shared = math.sqrt(1.0 + final_paths / draws)
    return [dataclasses.replace(rule, error=shared * rule.error) for rule in sorted(final, key=by, reverse=True)]


@torch.no_grad()
def walk_rules(
    rules: Sequence[Rule],
    world: GeneratedWorld,
    config: EnvConfig,
    *,
    paths: int,
    seed: int,
    expected: bool = False,
) -> list[RuleEarned]:
    """Each rule on the same paths, one whole episode of each.

    Args:
        expected: growth less its surprise: the same mean with far less noise, where the world knows surprises
    """
    raw = dataclasses.replace(config, **RAW | {"expected_reward": expected})
    count = len(rules)
    env = OptionsEnv(world, raw, n_envs=count * paths, seed=seed, stagger=False)
    state = env.state_dict()
    index = state["snapshot_index_N"][:paths].repeat(count)
    env.load_state_dict({**state, "snapshot_index_N": index})
    package = torch.tensor([ACTIONS.index(rule.package) for rule in rules]).repeat_interleave(paths)
    stacked = torch.tensor([rule.stacked for rule in rules]).repeat_interleave(paths)
    every = torch.tensor([HEDGES[rule.hedge] for rule in rules]).repeat_interleave(paths)
    observation, mask = env.observe()
    alive, total = torch.ones(count * paths, dtype=torch.bool), torch.zeros(count * paths, dtype=torch.float64)
    sessions, squares = torch.zeros_like(total), torch.zeros_like(total)
    pending = torch.zeros_like(alive)  # a hedge that an opening came before
    for t in range(config.horizon):
        due = (((every > 0) & (t % every.clamp(min=1) == 0)) | pending) & mask[:, HEDGE_DELTA]
        may = mask.gather(1, package[:, None])[:, 0] & (stacked | (observation[:, _LEGS_HELD] == 0))
        # a hedge that is due waits for what opens: with a daily one the package comes first when nothing is held
        opens = may & (~due | (observation[:, _LEGS_HELD] == 0) | (t % 2 == 0))
        pending = due & opens
        action = torch.where(opens, package, torch.where(due, HEDGE_DELTA, HOLD))
        before = env.state.equity_N
        step = env.step(action)
        ends = step.terminated | step.truncated
        gain = torch.where(alive, step.reward, 0.0).double()
        total, sessions = total + gain, sessions + alive
        # where an episode ends the account is a new one, whose equity says nothing of the step
        moved = torch.log(env.state.equity_N / before) * _BPS if expected else gain
        squares = squares + torch.where(alive & ~ends if expected else alive, moved, 0.0).double() ** 2
        alive = alive & ~ends
        assert step.action_mask is not None
        observation, mask = step.observation, step.action_mask
    return [
        _earned(rule, *(part.view(count, paths)[place] for part in (total, squares, sessions)))
        for place, rule in enumerate(rules)
    ]


def _earned(rule: Rule, total: torch.Tensor, squares: torch.Tensor, sessions: torch.Tensor) -> RuleEarned:
    count = sessions.sum()
    mean = total.sum() / count
    return RuleEarned(
        rule=rule,
        episodes=len(total),
        growth=float(mean),
        error=float((total - mean * sessions).square().sum().sqrt() / count),
        deviation=float((squares.sum() / count - mean**2).clamp(min=0.0).sqrt()),
    )
