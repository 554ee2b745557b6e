"""Teach the critic what returns look like before the policy takes its first step."""

from dataclasses import dataclass
from typing import Any

import torch

from clstm_core.config import PPOConfig
from clstm_core.env.protocol import BatchedEnv
from clstm_core.model.clstm import CLSTM
from clstm_core.model.trunk import TrunkState
from clstm_core.ppo.adam import Adam
from clstm_core.ppo.advantages import monte_carlo_returns
from clstm_core.ppo.diagnostics import explained_variance, policy_kl
from clstm_core.ppo.losses import value_loss
from clstm_core.ppo.ranks import ALONE, Ranks
from clstm_core.ppo.rollout import Carry, begin, collect, revalued
from clstm_core.ppo.storage import Rollout, Sequences, cut, sequences
from clstm_core.ppo.update import descend, minibatches

KL_LIMIT = 1e-3
"""The encoder may move the policy by at most this much; an epoch that would is undone for the encoder."""


@dataclass(frozen=True, slots=True)
class WarmupResult:
    """What warming up did. Explained variances, bootstrapped, are on a rollout that the warmup did not train on."""

    bootstrapped_explained_variance_before: float
    bootstrapped_explained_variance_after: float
    value_loss: tuple[float, ...]  # mean of each epoch
    policy_kl: float  # KL of the policy after against before, through the encoder alone
    encoder_frozen: bool  # True when the encoder hit KL_LIMIT and was set back, or was not to move at all
    actor_untouched: bool  # actor trunk and policy head are bit-identical to before
    env_steps: int
    carry: Carry  # where the env stands, for the training that follows

    def to_dict(self) -> dict[str, Any]:
        """The figures, as plain JSON types."""
        names = (name for name in self.__slots__ if name != "carry")
        return {name: getattr(self, name) for name in names}


def warm_critic(
    model: CLSTM,
    env: BatchedEnv,
    config: PPOConfig,
    *,
    carry: Carry | None = None,
    generator: torch.Generator | None = None,
    ranks: Ranks = ALONE,
    encoder: bool = True,
) -> WarmupResult:
    """Fit the critic to Monte Carlo returns of the policy as it is, and the encoder lightly with it.

    `warmup_rollouts` rollouts, `warmup_epochs` epochs at `warmup_lr`, an optimizer of its own that is then discarded.
    The actor's trunk and head stay bit-identical; the encoder moves at `warmup_encoder_lr` and never so far that the
    policy's KL exceeds KL_LIMIT.

    Args:
        carry: where the env stands; None resets it
        generator: source of all randomness; None seeds one with 0
        ranks: who fits the same critic to other envs; `config` is this one's share then
        encoder: False leaves it bit-identical as well: no logit moves then
    """
    generator = generator or torch.Generator(device=env.device).manual_seed(0)
    carry = begin(model, env) if carry is None else carry
    rollouts: list[Rollout] = []
    judge_state = carry.state
    for _ in range(config.warmup_rollouts + 1):
        judge_state = carry.state
        rollout = Rollout.allocate(model, env, n_steps=config.n_steps, bptt_steps=config.bptt_steps)
        carry = collect(model, env, carry, rollout, generator=generator, ranks=ranks)
        rollouts.append(rollout)
    judge = rollouts.pop()
    actor_before = [weight.clone() for weight in _actor_weights(model)]
    before = _judge(model, judge, model.critic_state(judge_state), config, ranks)
    data = [(sequences(rollout), *_targets(rollout, config)) for rollout in rollouts]
    moving = [{"params": model.critic_parameters(), "lr": config.warmup_lr}]
    if encoder:
        moving.append({"params": list(model.encoder.parameters()), "lr": config.warmup_encoder_lr})
    optimizer = Adam(moving, eps=1e-5)
    losses: list[float] = []
    kl, frozen = 0.0, not encoder
    for _ in range(config.warmup_epochs):
        encoder_before = {name: value.clone() for name, value in model.encoder.state_dict().items()}
        losses.append(_epoch(model, optimizer, data, config, generator, ranks))
        if not encoder:
            continue
        moved = max((policy_kl(model, batch, batch.state.actor, ranks).item() for batch, _, _ in data), default=0.0)
        if moved > KL_LIMIT:
            model.encoder.load_state_dict(encoder_before)
            optimizer.param_groups[1]["lr"], frozen = 0.0, True
        else:
            kl = moved
    model.zero_grad(set_to_none=True)
    after = _judge(model, judge, model.critic_state(judge_state), config, ranks)
    steps = (config.warmup_rollouts + 1) * config.samples_per_iteration * ranks.size
    untouched = all(map(torch.equal, actor_before, _actor_weights(model)))
    return WarmupResult(before, after, tuple(losses), kl, frozen, untouched, steps, carry)


def _actor_weights(model: CLSTM) -> list[torch.Tensor]:
    return [weight for part in (model.actor_trunk, model.policy_head) for weight in part.state_dict().values()]


def _targets(rollout: Rollout, config: PPOConfig) -> tuple[torch.Tensor, torch.Tensor]:
    returns, weight = monte_carlo_returns(
        rollout.reward, rollout.next_value, rollout.terminated, rollout.truncated, gamma=config.gamma
    )
    return cut(returns, config.bptt_steps), cut(weight, config.bptt_steps)


def _epoch(
    model: CLSTM,
    optimizer: Adam,
    data: list[tuple[Sequences, torch.Tensor, torch.Tensor]],
    config: PPOConfig,
    generator: torch.Generator,
    ranks: Ranks,
) -> float:
    losses = []
    for batch, target, weight in data:
        for index in minibatches(batch, config.sequences_per_minibatch, generator, ranks):
            part = batch.select(index)
            features = model.encoder(part.observation)
            value, _ = model.unroll_critic(features, part.start, model.critic_state(part.state))
            seen = weight.index_select(1, index)
            (loss,) = ranks.weighted((value_loss(value, target.index_select(1, index), seen),), seen)
            model.zero_grad(set_to_none=True)
            loss.backward()
            descend(optimizer, config.max_grad_norm, ranks)
            losses.append(loss.detach())
    return ranks.mean({"loss": torch.stack(losses).mean()})["loss"].item() if losses else 0.0


@torch.no_grad()
def _judge(model: CLSTM, rollout: Rollout, state: TrunkState, config: PPOConfig, ranks: Ranks) -> float:
    now = revalued(model, rollout, state)
    returns, weight = monte_carlo_returns(now.reward, now.next_value, now.terminated, now.truncated, gamma=config.gamma)
    return explained_variance(*ranks.columns(now.value, returns, weight)).item()
