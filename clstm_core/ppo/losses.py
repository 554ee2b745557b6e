"""The losses of PPO, as pure functions of tensors; steps without a choice have weight zero in the policy's."""

from typing import NamedTuple

import torch

from clstm_core.specs import HOLD


class PolicyLoss(NamedTuple):
    """Scalars on the device; `waits` is the mean probability of `hold`."""

    loss: torch.Tensor
    entropy: torch.Tensor
    waits: torch.Tensor
    approx_kl: torch.Tensor
    clip_fraction: torch.Tensor

    def regularised(self, coefficient: float | torch.Tensor, lean: float) -> torch.Tensor:
        """The loss with the bonus that pulls to the policy that training began with.

            L - c (H + b pi(hold)) = L + c KL(pi || first) + constant,   first: the logit of hold is b, of others 0

        Where b is 0 that is the entropy bonus: it pulls to every legal action alike.
        """
        bonus = self.entropy + lean * self.waits if lean else self.entropy
        return self.loss - coefficient * bonus


def masked_mean(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean of `value` with weights; 0 where all weights are 0."""
    return (value * weight).sum() / weight.sum().clamp_min(torch.finfo(value.dtype).tiny)


def approximate_kl(log_ratio: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """KL(old || new) from samples of the old policy, never negative: E[(r - 1) - log r].

    Source: Schulman, "Approximating KL Divergence", 2020, estimator k3
    """
    return masked_mean(torch.expm1(log_ratio) - log_ratio, weight)


def kl_between(log_p: torch.Tensor, log_q: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """KL(p || q) over all actions, exact, mean over the steps.

    Shapes: log_p, log_q [..., A] log-probabilities; weight [...]
    """
    return masked_mean((log_p.exp() * (log_p - log_q)).sum(dim=-1), weight)


def log_prob_of(action: torch.Tensor, log_probs: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [...] of the actions [...] int64 taken, from those of all actions [..., A]."""
    return log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def policy_loss(
    logits: torch.Tensor,
    action: torch.Tensor,
    old_log_prob: torch.Tensor,
    advantage: torch.Tensor,
    free: torch.Tensor,
    *,
    clip_epsilon: float,
) -> PolicyLoss:
    """Clipped surrogate and the entropy of the policy, over the steps with a choice.

        L = -E[min(r A, clip(r, 1 - eps, 1 + eps) A)],  r = pi(a | s) / pi_old(a | s)

    Shapes: logits [..., A] masked; the rest [...]; free bool
    Source: Schulman et al. 2017, arXiv:1707.06347, eq. 7
    """
    weight = free.to(logits.dtype)
    log_probs = logits.log_softmax(dim=-1)
    log_ratio = log_prob_of(action, log_probs) - old_log_prob
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_epsilon, 1 + clip_epsilon)
    surrogate = torch.minimum(ratio * advantage, clipped * advantage)
    probs = log_probs.exp()
    entropy = -(probs * log_probs).sum(dim=-1)
    with torch.no_grad():
        approx_kl = approximate_kl(log_ratio, weight)
        clip_fraction = masked_mean(((ratio - 1).abs() > clip_epsilon).to(weight.dtype), weight)
    waits = masked_mean(probs[..., HOLD], weight)
    return PolicyLoss(-masked_mean(surrogate, weight), masked_mean(entropy, weight), waits, approx_kl, clip_fraction)


def value_loss(value: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Half the mean squared error of the critic, unclipped; `weight` discounts bootstrapped targets."""
    error = 0.5 * (value - target).square()
    return error.mean() if weight is None else masked_mean(error, weight)
