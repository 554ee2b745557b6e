"""One iteration's learning: policy and critic together, then the critic alone, minibatch by minibatch."""

from dataclasses import dataclass

import torch
from torch import nn

from clstm_core.config import PPOConfig
from clstm_core.model.clstm import CLSTM
from clstm_core.ppo.losses import policy_loss, value_loss
from clstm_core.ppo.storage import Sequences, select_rows


@dataclass(frozen=True, slots=True)
class Optimizers:
    """Adam for the actor (encoder included) and Adam for the critic."""

    actor: torch.optim.Adam
    critic: torch.optim.Adam

    def set_lr(self, actor_lr: float, critic_lr: float) -> None:
        """The learning rates of the coming iteration."""
        for optimizer, lr in ((self.actor, actor_lr), (self.critic, critic_lr)):
            for group in optimizer.param_groups:
                group["lr"] = lr


def make_optimizers(model: CLSTM, config: PPOConfig) -> Optimizers:
    """Fresh optimizers at the configured learning rates."""
    return Optimizers(
        torch.optim.Adam(model.actor_parameters(), lr=config.actor_lr, eps=1e-5, fused=True),
        torch.optim.Adam(model.critic_parameters(), lr=config.critic_lr, eps=1e-5, fused=True),
    )


@dataclass(slots=True)
class MinibatchSums:
    """Sums of diagnostics on the device; `bad` is the number of the first minibatch that was not finite, or -1."""

    totals: dict[str, torch.Tensor]
    counts: dict[str, int]
    bad: torch.Tensor
    indices: list[torch.Tensor]

    def add(self, index: torch.Tensor, **values: torch.Tensor) -> None:
        """Account for one minibatch of sequences `index`; a value that is not finite is noted, without waiting."""
        finite = torch.stack([value.detach().isfinite() for value in values.values()]).all()
        self.bad = torch.where((self.bad < 0) & ~finite, len(self.indices), self.bad)
        self.indices.append(index)
        for name, value in values.items():
            self.totals[name] = self.totals.get(name, 0.0) + value.detach()
            self.counts[name] = self.counts.get(name, 0) + 1

    def means(self) -> dict[str, torch.Tensor]:
        """Average of each value over the minibatches that had it."""
        return {name: total / self.counts[name] for name, total in self.totals.items()}


def update(
    model: CLSTM,
    optimizers: Optimizers,
    data: Sequences,
    advantage: torch.Tensor,
    target: torch.Tensor,
    config: PPOConfig,
    *,
    entropy_coef: float,
    generator: torch.Generator,
) -> MinibatchSums:
    """`policy_epochs` of policy and critic together, then `extra_critic_epochs` of the critic on cached features.

    Shapes:  advantage (normalised) and target [C, S], cut like `data`
    Assumes: the critic's gradient stops at the encoder, so the encoder is still during the extra epochs
    """
    sums = MinibatchSums({}, {}, torch.tensor(-1, device=advantage.device), [])
    for _ in range(config.policy_epochs):
        for index in minibatches(data, config.sequences_per_minibatch, generator):
            batch = data.select(index)
            logits, value, _ = model.unroll(batch.observation, batch.mask, batch.start, batch.state)
            policy = policy_loss(
                logits,
                batch.action,
                batch.log_prob,
                advantage.index_select(1, index),
                batch.free,
                clip_epsilon=config.clip_epsilon,
            )
            critic_loss = value_loss(value, target.index_select(1, index))
            optimizers.actor.zero_grad()
            optimizers.critic.zero_grad()
            (policy.loss - entropy_coef * policy.entropy + critic_loss).backward()
            policy_norm = descend(optimizers.actor, config.max_grad_norm)
            value_norm = descend(optimizers.critic, config.max_grad_norm)
            sums.add(
                index,
                policy_loss=policy.loss,
                entropy=policy.entropy,
                approx_kl=policy.approx_kl,
                clip_fraction=policy.clip_fraction,
                value_loss=critic_loss,
                policy_grad_norm=policy_norm,
                value_grad_norm=value_norm,
            )
    if config.extra_critic_epochs:
        with torch.no_grad():
            features = model.encoder(data.observation)
    for _ in range(config.extra_critic_epochs):
        for index in minibatches(data, config.sequences_per_minibatch, generator):
            state = select_rows(data.state, index)
            value, _, _ = model.unroll_critic(
                features.index_select(1, index), data.start.index_select(1, index), model.critic_state(state)
            )
            critic_loss = value_loss(value, target.index_select(1, index))
            optimizers.critic.zero_grad()
            critic_loss.backward()
            value_norm = descend(optimizers.critic, config.max_grad_norm)
            sums.add(index, value_loss=critic_loss, value_grad_norm=value_norm)
    return sums


def minibatches(data: Sequences, size: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """A fresh shuffle of all sequences, cut into minibatches of `size` sequences."""
    total = data.start.shape[1]
    return torch.randperm(total, generator=generator, device=data.start.device).split(size)


def descend(optimizer: torch.optim.Optimizer, max_grad_norm: float) -> torch.Tensor:
    """Clip this optimizer's gradients to a joint norm and step; the norm before clipping."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    optimizer.step()
    return norm
