"""One iteration's learning: policy and critic together, then the critic alone, minibatch by minibatch.

The two trunks share the encoder's features and nothing else, and the critic sends them no gradient: each is fitted by
itself, on a thread of its own where the helper has one, to the same bits as one after the other. The actor waits for
nothing of the critic's.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from clstm_core.config import PPOConfig
from clstm_core.model.clstm import CLSTM
from clstm_core.model.trunk import TrunkState
from clstm_core.ppo.adam import Adam
from clstm_core.ppo.losses import PolicyLoss, kl_between, value_loss
from clstm_core.ppo.policy_loss_kernel import compiled_policy_loss
from clstm_core.ppo.ranks import ALONE, Ranks
from clstm_core.ppo.storage import Sequences, select_rows


@dataclass(frozen=True, slots=True)
class Optimizers:
    """Adam for the actor (encoder included) and Adam for the critic."""

    actor: Adam
    critic: Adam

    def set_lr(self, actor_lr: float, critic_lr: float) -> None:
        """The learning rates of the coming iteration."""
        for optimizer, lr in ((self.actor, actor_lr), (self.critic, critic_lr)):
            for group in optimizer.param_groups:
                if isinstance(group["lr"], torch.Tensor):
                    group["lr"].fill_(lr)
                else:
                    group["lr"] = lr


def make_optimizers(model: CLSTM, config: PPOConfig) -> Optimizers:
    """Fresh optimizers at the configured learning rates."""
    device = model.value_head.weight.device

    def adam(parameters: list[nn.Parameter], lr: float) -> Adam:
        made = Adam(parameters, lr=lr, eps=1e-5, fused=True, capturable=device.type != "cpu")
        made.param_groups[0]["lr"] = of_iteration(lr, device)
        return made

    return Optimizers(
        adam(model.actor_parameters(), config.actor_lr), adam(model.critic_parameters(), config.critic_lr)
    )


def of_iteration(number: float, device: torch.device) -> float | torch.Tensor:
    """A number that the next iteration has another of; off the CPU a tensor, which a captured graph reads anew."""
    return number if device.type == "cpu" else torch.full((), number, device=device)


class Toward(NamedTuple):
    """A policy that the one in training is held near, and how strongly.

    Shapes: log_probs [C, S, A] of it, cut like the data
    """

    log_probs: torch.Tensor
    coefficient: float

    def added(self, loss: torch.Tensor, logits: torch.Tensor, free: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """L + c KL(it || policy), over all actions of the steps with a choice, for a minibatch of sequences `index`."""
        theirs = self.log_probs.index_select(1, index)
        return loss + self.coefficient * kl_between(theirs, logits.log_softmax(dim=-1), free.to(logits.dtype))


@dataclass(slots=True)
class MinibatchValues:
    """Scalars of every minibatch, left on the device until all are done: each name's are those of the first on."""

    values: dict[str, list[torch.Tensor]]
    indices: list[torch.Tensor]

    @classmethod
    def none(cls) -> "MinibatchValues":
        """Of no minibatch yet."""
        return cls({}, [])

    def add(self, index: torch.Tensor, **values: torch.Tensor) -> None:
        """Note those of one minibatch of sequences `index`."""
        self.indices.append(index)
        for name, value in values.items():
            self.values.setdefault(name, []).append(value.detach())

    def beside(self, longer: "MinibatchValues") -> "MinibatchValues":
        """Both, of the same minibatches as far as this one goes; the values have different names."""
        return MinibatchValues(self.values | longer.values, longer.indices)

    def means(self) -> dict[str, torch.Tensor]:
        """Average of each value over the minibatches that had it."""
        return {name: torch.stack(values).mean() for name, values in self.values.items()}

    def bad(self) -> torch.Tensor:
        """Number of the first minibatch with a value that is not finite, or -1; nothing waits for it."""
        never = len(self.indices)
        firsts = [torch.full((), never, device=self.indices[0].device)] if self.indices else [torch.full((), 0)]
        for values in self.values.values():
            finite = torch.stack(values).isfinite()
            first = (~finite).to(torch.int64).argmax()  # of equal ones the first
            firsts.append(torch.where(finite.all(), never, first))
        first = torch.stack(firsts).min()
        return torch.where(first == never, -1, first)


def update(
    model: CLSTM,
    optimizers: Optimizers,
    data: Sequences,
    advantage: torch.Tensor,
    target: torch.Tensor,
    config: PPOConfig,
    *,
    entropy_coef: float | torch.Tensor,
    generator: torch.Generator,
    helper: Executor,
    ranks: Ranks = ALONE,
    toward: Toward | None = None,
) -> Callable[[], MinibatchValues]:
    """`policy_epochs` of the policy, done on return; the same of the critic and its `extra_critic_epochs`, when called.

    The helper has the critic's work by then. It draws nothing, reads features that are computed here and moves the
    critic alone, so that the actor may walk meanwhile. Where several processes train, `data`, `config` and the sums are
    this one's share; gradients are those of the minibatches of all.

    Args:
        toward: what the actor's loss pulls to besides; of one process alone

    Shapes:  advantage (normalised) and target [C, S], cut like `data`
    Assumes: the critic's gradient stops at the encoder, so the encoder is still during the extra epochs; where the
             trunk is shared both are fitted to the sum of their losses
    """
    actor, critic = MinibatchValues.none(), MinibatchValues.none()
    given: list[Future[None]] = []

    def fit_critic(features: torch.Tensor, start: torch.Tensor, state: TrunkState, index: torch.Tensor) -> None:
        value, _ = model.unroll_critic(features, start, state)
        loss = value_loss(value, target.index_select(1, index))
        critic.add(index, value_loss=loss, value_grad_norm=_fit(optimizers.critic, loss, config, ranks))

    for _ in range(config.policy_epochs):
        for index in minibatches(data, config.sequences_per_minibatch, generator, ranks):
            batch, gain = data.select(index), advantage.index_select(1, index)
            if model.critic_trunk is None:
                policy, policy_norm, critic_loss, value_norm = _fit_shared(
                    model,
                    optimizers,
                    batch,
                    gain,
                    target.index_select(1, index),
                    config,
                    entropy_coef,
                    ranks,
                    toward,
                    index,
                )
                critic.add(index, value_loss=critic_loss, value_grad_norm=value_norm)
            else:
                features = model.encoder(batch.observation)
                given.append(helper.submit(fit_critic, features.detach(), batch.start, batch.state.critic, index))
                logits, _ = model.unroll_actor(features, batch.mask, batch.start, batch.state.actor)
                policy = _policy_loss(logits, batch, gain, config, ranks)
                loss = policy.regularised(entropy_coef, model.config.hold_bias)
                if toward is not None:
                    loss = toward.added(loss, logits, batch.free, index)
                policy_norm = _fit(optimizers.actor, loss, config, ranks)
            actor.add(
                index,
                policy_loss=policy.loss,
                entropy=policy.entropy,
                approx_kl=policy.approx_kl,
                clip_fraction=policy.clip_fraction,
                policy_grad_norm=policy_norm,
            )
    extra = [
        index
        for _ in range(config.extra_critic_epochs)
        for index in minibatches(data, config.sequences_per_minibatch, generator, ranks)
    ]
    with torch.no_grad():
        encoded = model.encoder(data.observation) if extra else data.observation

    def extra_epochs() -> None:
        for index in extra:
            state = select_rows(model.critic_state(data.state), index)
            fit_critic(encoded.index_select(1, index), data.start.index_select(1, index), state, index)

    given.append(helper.submit(extra_epochs))

    def whole() -> MinibatchValues:
        for work in given:
            work.result()
        return actor.beside(critic)

    return whole


def _fit_shared(
    model: CLSTM,
    optimizers: Optimizers,
    batch: Sequences,
    advantage: torch.Tensor,
    target: torch.Tensor,
    config: PPOConfig,
    entropy_coef: float | torch.Tensor,
    ranks: Ranks,
    toward: Toward | None,
    index: torch.Tensor,
) -> tuple[PolicyLoss, torch.Tensor, torch.Tensor, torch.Tensor]:
    """One minibatch of a policy whose critic has no trunk of its own: losses and norms of both."""
    logits, value, _ = model.unroll(batch.observation, batch.mask, batch.start, batch.state)
    policy, critic_loss = _policy_loss(logits, batch, advantage, config, ranks), value_loss(value, target)
    optimizers.actor.forget_gradients()
    optimizers.critic.forget_gradients()
    actor_loss = policy.regularised(entropy_coef, model.config.hold_bias)
    if toward is not None:
        actor_loss = toward.added(actor_loss, logits, batch.free, index)
    (actor_loss + critic_loss).backward()
    norms = (descend(each, config.max_grad_norm, ranks) for each in (optimizers.actor, optimizers.critic))
    policy_norm, value_norm = norms
    return policy, policy_norm, critic_loss, value_norm


def _policy_loss(
    logits: torch.Tensor, batch: Sequences, advantage: torch.Tensor, config: PPOConfig, ranks: Ranks
) -> PolicyLoss:
    given = (logits, batch.action, batch.log_prob, advantage, batch.free)
    mine = compiled_policy_loss(*given, clip_epsilon=config.clip_epsilon)
    return PolicyLoss._make(ranks.weighted(mine, batch.free))


def _fit(optimizer: Adam, loss: torch.Tensor, config: PPOConfig, ranks: Ranks) -> torch.Tensor:
    """One step down a loss; the gradient's norm before clipping."""
    optimizer.forget_gradients()
    loss.backward()
    return descend(optimizer, config.max_grad_norm, ranks)


def minibatches(
    data: Sequences, size: int, generator: torch.Generator, ranks: Ranks = ALONE
) -> tuple[torch.Tensor, ...]:
    """A fresh shuffle of all sequences, cut into minibatches of `size` sequences."""
    return ranks.permutation(data.start.shape[1], generator, data.start.device).split(size)


def descend(optimizer: Adam, max_grad_norm: float, ranks: Ranks = ALONE) -> torch.Tensor:
    """Clip this optimizer's gradients, those of all processes, to a joint norm and step; the norm before clipping."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    ranks.mean_gradients(parameters)
    return optimizer.descend(max_grad_norm)
