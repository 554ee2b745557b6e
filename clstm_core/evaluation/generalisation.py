"""What a policy earns where it was trained and where it was not: the gap, by family of worlds and by dates."""

from dataclasses import dataclass

import torch

from clstm_core.env.options_env import OptionsEnv
from clstm_core.model.clstm import CLSTM
from clstm_core.specs import ACTIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Earned:
    """Growth per session beyond cash of one policy in one kind of market, each episode a draw.

    Units: basis points per session; error the standard error of the mean, by episodes
    """

    episodes: int
    sessions: int
    mean: float
    error: float
    deviation: float  # of one session
    actions: tuple[float, ...]  # share of each of `specs.ACTIONS`


@torch.no_grad()
def earned(model: CLSTM, env: OptionsEnv, *, sampled: bool = True, seed: int = 0) -> Earned:
    """Walk one whole episode per account, all begun at once, and take the growth of each.

    Assumes: the env's reward is raw, unscaled log growth in basis points
    """
    generator = torch.Generator(device=env.device).manual_seed(seed)
    observation, mask = env.reset()
    n, state = env.n_envs, model.initial_state(env.n_envs, env.device)
    start = torch.ones(n, dtype=torch.bool, device=env.device)
    alive, total, count = start.clone(), torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    squares = torch.zeros(n, dtype=torch.float64)
    taken = torch.zeros(len(ACTIONS), dtype=torch.float64)
    for _ in range(env.config.horizon):
        noise = torch.empty(mask.shape, device=env.device).exponential_(generator=generator).log_()
        action, _, state = model.decide(observation, mask, state, start, noise if sampled else torch.zeros_like(noise))
        step = env.step(action)
        taken += torch.bincount(action[alive], minlength=len(ACTIONS)).double()
        gain = torch.where(alive, step.reward, 0.0).double()
        total, squares, count = total + gain, squares + gain**2, count + alive
        start = torch.zeros_like(start)
        alive = alive & ~(step.terminated | step.truncated)
        assert step.action_mask is not None
        observation, mask = step.observation, step.action_mask
    mean = total.sum() / count.sum()
    error = ((total - mean * count) ** 2).sum().sqrt() / count.sum()
    deviation = (squares.sum() / count.sum() - mean**2).sqrt()
    return Earned(
        episodes=n,
        sessions=int(count.sum()),
        mean=float(mean),
        error=float(error),
        deviation=float(deviation),
        actions=tuple((taken / taken.sum()).tolist()),
    )
