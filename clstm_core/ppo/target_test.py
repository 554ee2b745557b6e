"""What a rollout is worth, made anew the slow way: where episodes end, what they bootstrap from and add up to.

A truncated episode goes on being worth something, a terminated one does not; the value after a step comes from the
observation before any reset and from the state that the critic had by then. Training on the opposite crashes nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from clstm_core.config import PPOConfig
from clstm_core.model.clstm import CLSTM, RecurrentState
from clstm_core.ppo.advantages import monte_carlo_returns
from clstm_core.ppo.storage import Rollout

Advantages = Callable[[Rollout], torch.Tensor]


class TargetReport(NamedTuple):
    """How far the learner's targets lie from their definition.

    max_next_value_error, max_advantage_error, max_return_error: relative to 1 + the largest of their kind
    unseen_ends: ended episodes whose last observation is the next episode's first one
    seam_breaks: steps inside an episode whose next observation is another than the one they led to
    """

    max_next_value_error: float
    max_advantage_error: float
    max_return_error: float
    ends_inside: int
    unseen_ends: int
    seam_breaks: int


@torch.no_grad()
def run_target_test(model: CLSTM, rollout: Rollout, config: PPOConfig, advantages: Advantages) -> TargetReport:
    """Compare a walked rollout's bootstrap values and the learner's targets with their definitions.

    Args:
        rollout: walked from the states in its first chunk on
        advantages: what the learner trains on; it is also asked of planted ends of both kinds
    """
    done = rollout.terminated | rollout.truncated
    same = (rollout.final_observation[:-1] == rollout.observation[1:]).all(dim=-1)
    planted = _with_ends(rollout)
    apart = {"advantage": 0.0, "return": 0.0}
    for seen in (rollout, planted):
        apart["advantage"] = max(
            apart["advantage"],
            _relative(advantages(seen), _discounted(seen, config.gamma, config.gae_lambda)),
        )
        returns, _ = monte_carlo_returns(
            seen.reward, seen.next_value, seen.terminated, seen.truncated, gamma=config.gamma
        )
        apart["return"] = max(apart["return"], _relative(returns, _discounted(seen, config.gamma, None)))
    return TargetReport(
        max_next_value_error=_relative(rollout.next_value, _next_values(model, rollout)),
        max_advantage_error=apart["advantage"],
        max_return_error=apart["return"],
        ends_inside=int(done[:-1].sum()),
        unseen_ends=int((same & done[:-1]).sum()),
        seam_breaks=int((~same & ~done[:-1]).sum()),
    )


def _with_ends(rollout: Rollout) -> Rollout:
    """The same rollout with terminated and truncated steps strewn over it."""
    t = torch.arange(rollout.n_steps, device=rollout.reward.device).unsqueeze(1)
    n = torch.arange(rollout.reward.shape[1], device=rollout.reward.device)
    terminated = (t + 2 * n) % 7 == 3
    return rollout._replace(terminated=terminated, truncated=((t + 3 * n) % 5 == 1) & ~terminated)


def _discounted(rollout: Rollout, gamma: float, gae_lambda: float | None) -> torch.Tensor:
    """Sums over the rest of each episode, step by step from every start [T, N] in float64.

    With `gae_lambda`: (gamma lambda)^l of what was earned beyond the value. Without: gamma^l of rewards, and the value
    of what comes after where the episode does not terminate.
    """
    reward, value, following = (part.double() for part in (rollout.reward, rollout.value, rollout.next_value))
    bootstrap = gamma * following * (~rollout.terminated)
    ends = rollout.terminated | rollout.truncated
    earned = reward + bootstrap - value if gae_lambda is not None else reward
    rate = gamma * gae_lambda if gae_lambda is not None else gamma
    out = torch.zeros_like(reward)
    last = rollout.n_steps - 1
    for t in range(rollout.n_steps):
        alive, weight = torch.ones_like(ends[0]), 1.0
        for later in range(t, rollout.n_steps):
            out[t] += weight * alive * earned[later]
            if gae_lambda is None:
                stops = ends[later] if later < last else torch.ones_like(ends[later])
                out[t] += weight * (alive & stops) * bootstrap[later]
            alive = alive & ~ends[later]
            weight *= rate
    return out


def _next_values(model: CLSTM, rollout: Rollout) -> torch.Tensor:
    """V(final observation) after every step [T, N], the policy walked step by step from the rollout's first state."""
    state = RecurrentState(*(part[0] for part in rollout.chunk_state))
    out = torch.empty_like(rollout.next_value)
    for t in range(rollout.n_steps):
        _, _, state = model.step(rollout.observation[t], None, state.reset(rollout.start[t]))
        _, out[t], _ = model.step(rollout.final_observation[t], None, state)
    return out


def _relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one.double() - other.double()).abs().max() / (1.0 + other.double().abs().max())).item()
