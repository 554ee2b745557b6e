"""What an action was worth: generalised advantages and Monte Carlo returns, with both kinds of episode end."""

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
    advantage_TN, running = torch.empty_like(delta_TN), torch.zeros_like(delta_TN[0])
    for t in reversed(range(delta_TN.shape[0])):
        running = torch.addcmul(delta_TN[t], decay_TN[t], running)
        advantage_TN[t] = running
    return advantage_TN


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
    returns_TN, weight_TN = torch.empty_like(reward_TN), torch.empty_like(reward_TN)
    following, share = next_value_TN[-1], torch.ones_like(reward_TN[0])
    for t in reversed(range(reward_TN.shape[0])):
        following = torch.where(truncated_TN[t], next_value_TN[t], following)
        share = torch.where(truncated_TN[t], 1.0, share)
        following = reward_TN[t] + gamma * torch.where(terminated_TN[t], 0.0, following)
        share = gamma * torch.where(terminated_TN[t], 0.0, share)
        returns_TN[t], weight_TN[t] = following, 1 - share
    return returns_TN, weight_TN


def normalise(advantage: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
    """Advantages with mean 0 and standard deviation 1 over the steps at which there was a choice."""
    weight = free.to(advantage.dtype)
    count = weight.sum().clamp_min(1)
    mean = (advantage * weight).sum() / count
    std = (((advantage - mean).square() * weight).sum() / count).sqrt()
    return (advantage - mean) / (std + 1e-8)
