"""One policy through one kind of market: whole episodes, one per account, and what is to be said of them."""

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from clstm_core.config import EnvConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.rewards import excess_reward
from clstm_core.model.clstm import CLSTM
from clstm_core.ppo.diagnostics import foreseen, foresight
from clstm_core.ppo.rollout import value_chunk
from clstm_core.ppo.storage import Rollout
from clstm_core.specs import ACTIONS, OBSERVATION

SPAN = 5
"""Sessions over which the critic is held against the rewards that came."""

TERCILES = ("calm", "middle", "wild")
_VOLATILITY = OBSERVATION.index("near_atm_vol")
_BPS = 1e4
ROUNDING_BPS = 0.01
"""A session's growth nearer to cash's than this is cash's: float32 rounds equity to about a tenth of it."""


class Episodes(NamedTuple):
    """Whole episodes of N accounts, T steps each; what follows an early end does not count.

    Shapes: growth, alive, volatility, action [T, N]; rollout with rewards in the critic's scale
    Units:  growth: raw log growth beyond cash, basis points
    """

    growth: torch.Tensor
    alive: torch.Tensor
    rollout: Rollout


@dataclass(frozen=True, kw_only=True, slots=True)
class Earned:
    """What came of the episodes of one kind of market.

    Units: growth, error and deviation in basis points per session; error: standard error of the mean growth, None where
           one stretch is all there is; draws: how many independent episodes these are worth
    """

    episodes: int
    draws: float
    sessions: int
    growth_bps: float
    error_bps: float | None
    deviation_bps: float
    per_risk: float
    explained_variance_5: float | None
    actions: dict[str, float]


def raw(config: EnvConfig) -> EnvConfig:
    """The same account rewarded with nothing but its log growth beyond cash, in basis points."""
    return dataclasses.replace(
        config, reward="log_growth", risk_aversion=1.0, reward_scale=1.0, risk_penalty=0.0, expected_reward=False
    )


@torch.no_grad()
def walk_episodes(
    model: CLSTM, env: OptionsEnv, trained: EnvConfig, *, sampled: bool = False, seed: int = 0
) -> Episodes:
    """One whole episode per account, all begun at once, with the critic's values of every step.

    Args:
        env: of the `raw` configuration, not staggered; it is reset
        trained: the configuration that the critic learned the rewards of
        sampled: draw actions rather than take the likeliest
    """
    steps, n = env.config.horizon, env.n_envs
    rollout = Rollout.allocate(model, env, n_steps=steps, bptt_steps=steps)
    generator = torch.Generator(device=env.device).manual_seed(seed)
    observation, mask = env.reset()
    first = state = model.initial_state(n, env.device)
    start = torch.ones(n, dtype=torch.bool, device=env.device)
    going, growth, alive = start, torch.zeros(steps, n), torch.zeros(steps, n, dtype=torch.bool)
    for t in range(steps):
        noise = torch.zeros(mask.shape, device=env.device)
        if sampled:
            noise.exponential_(generator=generator).log_()
        action, log_prob, state = model.decide(observation, mask, state, start, noise)
        rollout.write(t, observation=observation, mask=mask, start=start, action=action, log_prob=log_prob)
        equity, entry = env.state.equity_N, env.state.entry_equity_N
        step = env.step(action)
        assert step.action_mask is not None
        growth[t], alive[t] = torch.where(step.reward.abs() < ROUNDING_BPS, 0.0, step.reward), going
        rollout.write(
            t,
            reward=_as_trained(growth[t], equity, entry, trained),
            terminated=step.terminated,
            truncated=step.truncated,
            final_observation=step.final_observation,
        )
        start = step.terminated | step.truncated
        going = going & ~start
        observation, mask = step.observation, step.action_mask
    value_chunk(model, rollout, 0, model.critic_state(first))
    return Episodes(growth, alive, rollout)


def earned(walked: Episodes, gamma: float, draws: float = math.inf) -> Earned:
    """Mean growth per session with its standard error by episodes, and what was done.

        error = sqrt(n / (m - 1) sum of (G_i - g L_i)^2) / sum of L_i,   1 / m = 1 / n + 1 / draws

    with G_i the growth of episode i and L_i its sessions: n episodes drawn from few stretches are worth m.

    Args:
        gamma: the discount that the critic learned
        draws: distinct stretches of this market that there are
    """
    weight = walked.alive.double()
    growth = walked.growth.double() * weight
    n, sessions = growth.shape[1], float(weight.sum())
    worth = 1.0 / (1.0 / n + 1.0 / draws)
    mean = growth.sum() / sessions
    left = (growth.sum(dim=0) - mean * weight.sum(dim=0)).square().sum()
    deviation = ((growth - mean * weight).square().sum() / sessions).sqrt()
    taken = _counts(walked, walked.alive)
    return Earned(
        episodes=n,
        draws=worth,
        sessions=int(sessions),
        growth_bps=float(mean),
        error_bps=float((left * n / (worth - 1.0)).sqrt() / sessions) if worth > 1.0 else None,
        deviation_bps=float(deviation),
        per_risk=float(mean / deviation) if float(deviation) > 0.0 else 0.0,  # cash has no such ratio
        explained_variance_5=_explained(walked, gamma),
        actions=_shares(taken),
    )


def habits(walked: Episodes) -> list[dict]:
    """What was done where volatility at the money was lowest, in between and highest, a third of the decisions each."""
    volatility = walked.rollout.observation[..., _VOLATILITY].double()
    seen = volatility[walked.alive]
    edges = torch.quantile(seen, torch.tensor([1.0 / 3.0, 2.0 / 3.0], dtype=torch.float64))
    third = torch.bucketize(volatility, edges)
    bounds = [float(seen.min()), *edges.tolist(), float(seen.max())]
    found = []
    for number, name in enumerate(TERCILES):
        taken = _counts(walked, walked.alive & (third == number))
        facts = {"tercile": name, "from_vol": bounds[number], "to_vol": bounds[number + 1]}
        found.append({**facts, "decisions": int(taken.sum()), "actions": _shares(taken)})
    return found


def _as_trained(growth: torch.Tensor, equity: torch.Tensor, entry: torch.Tensor, trained: EnvConfig) -> torch.Tensor:
    """The raw reward that training gives for a growth [N] beyond cash.

    Assumes: no penalty on margin; cash's own growth within a session is small beside 1
    """
    nothing, before = torch.zeros_like(growth.double()), equity.double()
    after = before * torch.exp(growth.double() / _BPS)
    return excess_reward(before, after, nothing, entry.double(), nothing, trained).float()


def _explained(walked: Episodes, gamma: float) -> float | None:
    """Explained variance of the rewards of `SPAN` sessions; None where episodes are shorter, or no reward varies."""
    pair = foreseen(walked.rollout, gamma, SPAN)
    if pair is None:
        return None
    pair = pair._replace(weight=pair.weight * walked.alive[: len(pair.seen)])
    if not bool(pair.weight.any()) or float(pair.seen[pair.weight > 0].var(correction=0)) < 1e-12:
        return None
    share = float(foresight(pair)[0])
    return share if math.isfinite(share) else None


def _counts(walked: Episodes, where: torch.Tensor) -> torch.Tensor:
    return torch.bincount(walked.rollout.action[where], minlength=len(ACTIONS)).double()


def _shares(taken: torch.Tensor) -> dict[str, float]:
    """Shares of the actions that were taken at all, the most frequent first."""
    total = float(taken.sum())
    named = ((name, count / total) for name, count in zip(ACTIONS, taken.tolist(), strict=True) if count)
    return dict(sorted(named, key=lambda item: -item[1]))
