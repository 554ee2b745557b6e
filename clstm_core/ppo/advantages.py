"""What an action was worth: generalised advantages and Monte Carlo returns, with both kinds of episode end."""

from collections.abc import Callable

import torch


def generalised_advantages(
    reward_TN: torch.Tensor,
    value_TN: torch.Tensor,
    next_value_TN: torch.Tensor,
    terminated_TN: torch.Tensor,
    truncated_TN: torch.Tensor,
    *,
    gamma: float,
    gae_lambda: float,
) -> torch.Tensor:
    """Generalised advantage estimates; the critic's targets are these plus the values.

        delta_t = r_t + gamma (1 - terminated_t) V(next_t) - V_t
        A_t     = delta_t + gamma lambda (1 - terminated_t) (1 - truncated_t) A_{t+1},  A_T = 0

    Shapes:  all [T, N]; terminated and truncated bool -> [T, N]
    Source:  Schulman et al. 2016, arXiv:1506.02438, eq. 16; the episode masks are ours
    Assumes: next_value[t] comes from the observation before any reset, so that a truncated episode and the rollout's
             end bootstrap alike
    """
    delta_TN = reward_TN + gamma * torch.where(terminated_TN, 0.0, next_value_TN) - value_TN
    decay_TN = torch.where(terminated_TN | truncated_TN, 0.0, gamma * gae_lambda).to(delta_TN.dtype)
    return _accumulated(delta_TN, decay_TN, torch.zeros_like(delta_TN[0]))


def monte_carlo_returns(
    reward_TN: torch.Tensor,
    next_value_TN: torch.Tensor,
    terminated_TN: torch.Tensor,
    truncated_TN: torch.Tensor,
    *,
    gamma: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Discounted returns to the episode's end, and how much of each was seen rather than bootstrapped.

        G_t = r_t + gamma (terminated: 0 | truncated or last: V(next_t) | else: G_{t+1})
        w_t = 1 - gamma^(steps until the bootstrap); 1 where the episode terminates first

    Shapes: all [T, N] -> returns [T, N], weight [T, N] in (0, 1]
    Source: weighting by what was observed is ours: a return that is all bootstrap would flatter the critic
    """
    ends_TN, cut_TN = terminated_TN | truncated_TN, truncated_TN & ~terminated_TN
    bootstrap_TN = torch.where(cut_TN, next_value_TN, 0.0)
    earned_T2N = torch.stack((reward_TN + gamma * bootstrap_TN, gamma * cut_TN.to(reward_TN.dtype)), dim=1)
    decay_T1N = torch.where(ends_TN, 0.0, gamma).to(reward_TN.dtype).unsqueeze(1)
    last_2N = torch.stack((next_value_TN[-1], torch.ones_like(next_value_TN[-1])))
    returns_TN, share_TN = _accumulated(earned_T2N, decay_T1N, last_2N).unbind(dim=1)
    return returns_TN, 1 - share_TN


def _accumulated(earned: torch.Tensor, decay: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """x_t = earned_t + decay_t x_{t+1}, from the last step back; [T, ...] each, `last` is what follows it."""
    out = torch.empty_like(earned)
    for into, gain, rate in zip(*(reversed(part.unbind(0)) for part in (out, earned, decay)), strict=True):
        last = torch.addcmul(gain, rate, last, out=into)
    return out


def normalise(
    advantage: torch.Tensor, free: torch.Tensor, total: Callable[[torch.Tensor], torch.Tensor] = lambda part: part
) -> torch.Tensor:
    """Advantages with mean 0 and standard deviation 1 over the steps at which there was a choice.

    Args:
        total: sums over the processes that share the envs
    """
    weight = free.to(advantage.dtype)
    count = total(weight.sum()).clamp_min(1)
    mean = total((advantage * weight).sum()) / count
    std = (total(((advantage - mean).square() * weight).sum()) / count).sqrt()
    return (advantage - mean) / (std + 1e-8)
