"""One policy through one kind of market: whole episodes, one per account, and what is to be said of them."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch

from clstm_core.config import EnvConfig
from clstm_core.env.options_env import OptionsEnv
from clstm_core.env.protocol import BatchedEnv, EnvStep
from clstm_core.env.rewards import excess_reward
from clstm_core.model.clstm import CLSTM
from clstm_core.ppo.diagnostics import foreseen, foresight
from clstm_core.ppo.rollout import value_steps
from clstm_core.ppo.storage import Rollout
from clstm_core.specs import ACTIONS, OBSERVATION

SPAN = 5
"""Sessions over which the critic is held against the rewards that came."""

AT_ONCE = 21
"""Steps that a critic values at once: more of them leave the processor's caches."""

TERCILES = ("calm", "middle", "wild")
_VOLATILITY = OBSERVATION.index("near_atm_vol")
_BPS = 1e4
FEWEST = 1.5
"""Independent episodes that an error takes: fewer are one stretch, whose episodes are all alike and vary in nothing."""
ROUNDING_BPS = 0.01
"""A session's growth nearer to cash's than this is cash's: float32 rounds equity to about a tenth of it."""


class Lane(NamedTuple):
    """A policy on its walk: drawing its actions, or taking the likeliest."""

    model: CLSTM
    sampled: bool = False


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
           there are fewer than `FEWEST` stretches; draws: how many independent episodes these are worth
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
    lanes: Sequence[Lane],
    env: OptionsEnv,
    trained: EnvConfig,
    *,
    seed: int = 0,
    begin: torch.Tensor | None = None,
) -> list[Episodes]:
    """One whole episode per account of each lane, all lanes through the same ones, with the critics' values.

    Args:
        env: of the `raw` configuration, not staggered, with as many accounts for each lane; it is reset
        trained: the configuration that the critics learned the rewards of
        begin: snapshot index at which the accounts of every lane begin [n]; the env's own choice when left out
    """
    steps, n = env.config.horizon, env.n_envs // len(lanes)
    walks = [_Walk(lane, env, n, seed) for lane in lanes]
    # an account lives by its seed: those of the first lane again, in every lane
    env.reset()
    state = env.state_dict()
    if begin is not None:
        state["snapshot_index_N"] = begin
    env.load_state_dict({name: torch.cat([value[:n]] * len(lanes)) for name, value in state.items()})
    observation, mask = env.observe()
    parts = [slice(number * n, (number + 1) * n) for number in range(len(lanes))]
    for t in range(steps):
        action = [walk.decide(t, observation[part], mask[part]) for walk, part in zip(walks, parts, strict=True)]
        equity, entry = env.state.equity_N, env.state.entry_equity_N
        step = env.step(torch.cat(action))
        assert step.action_mask is not None
        growth = torch.where(step.reward.abs() < ROUNDING_BPS, 0.0, step.reward)
        told = step._replace(reward=_as_trained(growth, equity, entry, trained))
        for walk, part in zip(walks, parts, strict=True):
            walk.take(t, growth[part], EnvStep(*(field[part] for field in told if field is not None)))
        observation, mask = step.observation, step.action_mask
    return [walk.valued() for walk in walks]


class _Walk:
    """One lane on its way."""

    def __init__(self, lane: Lane, env: OptionsEnv, n: int, seed: int):
        self._lane, self._model, steps = lane, lane.model, env.config.horizon
        mine = cast(BatchedEnv, _Accounts(env, n))
        self._rollout = Rollout.allocate(lane.model, mine, n_steps=steps, bptt_steps=steps)
        self._generator = torch.Generator(device=env.device).manual_seed(seed)
        self._first = self._state = lane.model.initial_state(n, env.device)
        self._start = self._going = torch.ones(n, dtype=torch.bool, device=env.device)
        self._growth, self._alive = torch.zeros(steps, n), torch.zeros(steps, n, dtype=torch.bool)

    def decide(self, t: int, observation: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The action of each account at step t."""
        noise = torch.zeros(mask.shape, device=mask.device)
        if self._lane.sampled:
            noise.exponential_(generator=self._generator).log_()
        action, log_prob, self._state = self._model.decide(observation, mask, self._state, self._start, noise)
        written = {"observation": observation, "mask": mask, "start": self._start, "action": action}
        self._rollout.write(t, **written, log_prob=log_prob)
        return action

    def take(self, t: int, growth: torch.Tensor, step: EnvStep) -> None:
        """What the step brought."""
        self._growth[t], self._alive[t] = growth, self._going
        names = ("reward", "terminated", "truncated", "final_observation")
        self._rollout.write(t, **{name: getattr(step, name) for name in names})
        self._start = step.terminated | step.truncated
        self._going = self._going & ~self._start

    def valued(self) -> Episodes:
        """The walk with its critic's values."""
        rollout, state = self._rollout, self._model.critic_state(self._first)
        for begin in range(0, rollout.n_steps, AT_ONCE):
            steps = slice(begin, begin + AT_ONCE)
            value, following = rollout.value[steps], rollout.next_value[steps]
            state = value_steps(self._model, rollout, steps, state, value, following)
        return Episodes(self._growth, self._alive, self._rollout)


class _Accounts:
    """The shape of a lane's part of an env."""

    def __init__(self, env: OptionsEnv, n: int):
        self.n_envs, self.device = n, env.device
        self.observation_size, self.n_actions = env.observation_size, env.n_actions


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
        error_bps=float((left * n / (worth - 1.0)).sqrt() / sessions) if worth >= FEWEST else None,
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
