"""The numbers that say whether training is healthy: computed on the device, fetched once per iteration."""

from typing import NamedTuple

import torch

from clstm_core.model.clstm import CLSTM
from clstm_core.model.trunk import TrunkState
from clstm_core.ppo.losses import approximate_kl, log_prob_of, masked_mean
from clstm_core.ppo.ranks import ALONE, Ranks
from clstm_core.ppo.storage import Rollout, Sequences


def explained_variance(predicted: torch.Tensor, actual: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Share of the returns' variance that the critic explains; 1 is perfect, 0 is no better than their mean.

        EV = 1 - Var_w[G - V] / Var_w[G]

    Shapes: all the same; weight is what was observed rather than bootstrapped of each return
    """
    error = _variance(actual - predicted, weight)
    return 1 - error / _variance(actual, weight).clamp_min(1e-12)


SPANS = (1, 5, 21)
"""Steps over which the critic is held against rewards that were seen: the next one, a week, a month."""


class Foreseen(NamedTuple):
    """What the critic foresaw of the coming k steps, and what came.

    Shapes: [T - k + 1, N] each; weight 1 where the k steps lie in one episode
    """

    foreseen: torch.Tensor
    seen: torch.Tensor
    weight: torch.Tensor


def foreseen(rollout: Rollout, gamma: float, span: int) -> Foreseen | None:
    """Values against rewards that were seen, and nothing else; None where the rollout is shorter than `span`.

        x_t = V_t - gamma^k V_{t+k},   y_t = sum over i < k of gamma^i r_{t+i}

    A value that is the same in every state foresees nothing: x does not vary, whatever the level. Where an episode ends
    by itself inside the span, V after it is 0 and so is every later reward; where it is cut off there, the pair is left
    out, for nothing was seen beyond the cut.
    """
    starts = rollout.reward.shape[0] - span + 1
    if starts < 1:
        return None
    seen = torch.zeros_like(rollout.reward[:starts])
    going, whole = torch.ones_like(seen, dtype=torch.bool), torch.ones_like(seen, dtype=torch.bool)
    for step in range(span):
        at = slice(step, step + starts)
        seen = seen + gamma**step * torch.where(going, rollout.reward[at], 0.0)
        if step + 1 < span:
            whole = whole & ~(going & rollout.truncated[at])
        going = going & ~rollout.terminated[at]
    last = torch.where(going, rollout.next_value[span - 1 :], 0.0)
    return Foreseen(rollout.value[:starts] - gamma**span * last, seen, whole.to(seen.dtype))


def foresight(pair: Foreseen) -> tuple[torch.Tensor, torch.Tensor]:
    """Explained variance of the rewards that were seen, and their correlation with what was foreseen.

    EV_k = 1 - Var[y - x] / Var[y]
    """
    x, y, weight = pair
    return explained_variance(x, y, weight), correlation(x, y, weight)


def seen_diagnostics(rollout: Rollout, gamma: float, prefix: str = "") -> dict[str, torch.Tensor]:
    """`foresight` at each of `SPANS`, by the metrics' names; NaN where a rollout is too short for one."""
    values: dict[str, torch.Tensor] = {}
    for span in SPANS:
        pair = foreseen(rollout, gamma, span)
        missing = rollout.reward.new_full((), float("nan"))
        share, together = (missing, missing) if pair is None else foresight(pair)
        values[f"{prefix}explained_variance_{span}"] = share
        values[f"{prefix}value_correlation_{span}"] = together
    return values


def correlation(predicted: torch.Tensor, actual: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Correlation of what was predicted and what was; 0 where either does not vary."""
    p_mean, a_mean = masked_mean(predicted, weight), masked_mean(actual, weight)
    covariance = masked_mean((predicted - p_mean) * (actual - a_mean), weight)
    return covariance / (_variance(predicted, weight) * _variance(actual, weight)).sqrt().clamp_min(1e-12)


def value_diagnostics(value: torch.Tensor, returns: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """The critic against Monte Carlo returns, which end in its own values where an episode is cut off."""
    v_mean, g_mean = masked_mean(value, weight), masked_mean(returns, weight)
    v_std, g_std = _variance(value, weight).sqrt(), _variance(returns, weight).sqrt()
    return {
        "bootstrapped_explained_variance": explained_variance(value, returns, weight),
        "value_correlation": correlation(value, returns, weight),
        "predicted_mean": v_mean,
        "predicted_std": v_std,
        "monte_carlo_mean": g_mean,
        "monte_carlo_std": g_std,
    }


@torch.no_grad()
def policy_kl(model: CLSTM, walked: Rollout | Sequences, state: TrunkState, ranks: Ranks = ALONE) -> torch.Tensor:
    """KL of the policy as it is now from the one that walked, unrolled from the actor's state before the first step."""
    logits, _ = model.unroll_actor(model.encoder(walked.observation), walked.mask, walked.start, state)
    log_ratio = log_prob_of(walked.action, logits.log_softmax(-1)) - walked.log_prob
    (kl,) = ranks.weighted((approximate_kl(log_ratio, walked.free.to(log_ratio.dtype)),), walked.free)
    return ranks.mean({"kl": kl})["kl"]


def fetch(values: dict[str, torch.Tensor]) -> dict[str, float | None]:
    """Device scalars as floats in one transfer; NaN and infinities become None, which JSON can carry."""
    numbers = torch.stack([value.detach().to(torch.float64) for value in values.values()]).tolist()
    finite = (abs(number) < float("inf") for number in numbers)
    return {name: n if ok else None for name, n, ok in zip(values, numbers, finite, strict=True)}


def _variance(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return masked_mean((value - masked_mean(value, weight)).square(), weight)
