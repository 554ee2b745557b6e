"""The numbers that say whether training is healthy: computed on the device, fetched once per iteration."""

import torch

from clstm_core.model.clstm import CLSTM
from clstm_core.model.trunk import TrunkState
from clstm_core.ppo.losses import approximate_kl, log_prob_of, masked_mean
from clstm_core.ppo.storage import Rollout, Sequences


def explained_variance(predicted: torch.Tensor, actual: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Share of the returns' variance that the critic explains; 1 is perfect, 0 is no better than their mean.

        EV = 1 - Var_w[G - V] / Var_w[G]

    Shapes: all the same; weight is what was observed rather than bootstrapped of each return
    """
    error = _variance(actual - predicted, weight)
    return 1 - error / _variance(actual, weight).clamp_min(1e-12)


def value_diagnostics(value: torch.Tensor, returns: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """The critic against Monte Carlo returns: explained variance, correlation, and both distributions."""
    v_mean, g_mean = masked_mean(value, weight), masked_mean(returns, weight)
    covariance = masked_mean((value - v_mean) * (returns - g_mean), weight)
    v_std, g_std = _variance(value, weight).sqrt(), _variance(returns, weight).sqrt()
    return {
        "explained_variance": explained_variance(value, returns, weight),
        "value_correlation": covariance / (v_std * g_std).clamp_min(1e-12),
        "predicted_mean": v_mean,
        "predicted_std": v_std,
        "monte_carlo_mean": g_mean,
        "monte_carlo_std": g_std,
    }


@torch.no_grad()
def policy_kl(model: CLSTM, walked: Rollout | Sequences, state: TrunkState) -> torch.Tensor:
    """KL of the policy as it is now from the one that walked, unrolled from the actor's state before the first step."""
    logits, _ = model.unroll_actor(model.encoder(walked.observation), walked.mask, walked.start, state)
    log_ratio = log_prob_of(walked.action, logits.log_softmax(-1)) - walked.log_prob
    return approximate_kl(log_ratio, walked.free.to(log_ratio.dtype))


def fetch(values: dict[str, torch.Tensor]) -> dict[str, float | None]:
    """Device scalars as floats in one transfer; NaN and infinities become None, which JSON can carry."""
    numbers = torch.stack([value.detach().to(torch.float64) for value in values.values()]).tolist()
    finite = (abs(number) < float("inf") for number in numbers)
    return {name: n if ok else None for name, n, ok in zip(values, numbers, finite, strict=True)}


def _variance(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return masked_mean((value - masked_mean(value, weight)).square(), weight)
